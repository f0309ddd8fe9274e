/** Tables of pages. They scroll by themselves where a page is narrow. */
import { type Html, html } from './html.ts';

export interface Table {
  readonly caption?: string;
  readonly header: readonly string[];
  readonly rows: readonly (readonly (string | Html)[])[];
}

/** A column of numbers is set to the right. */
const NUMERIC = /^[-+−]?[\d.,]+( ?(%|x|[kMGT]?B|ms|±.*|\(.*))?$|^[-–—]?$/;

export function tableOf({ caption, header, rows }: Table): Html {
  const isNumeric = header.map((_, column) =>
    rows.every((row) => typeof row[column] === 'string' && NUMERIC.test(row[column])),
  );
  const cells = (row: Table['rows'][number]) =>
    row.map((cell, column) => (isNumeric[column] ? html`<td class="number">${cell}</td>` : html`<td>${cell}</td>`));
  return html`<div class="scroll" tabindex="0"><table>
${caption === undefined ? '' : html`<caption>${caption}</caption>`}
<thead><tr>${header.map((title, column) => html`<th scope="col"${isNumeric[column] ? html` class="number"` : ''}>${title}</th>`)}</tr></thead>
<tbody>${rows.map((row) => html`<tr>${cells(row)}</tr>\n`)}</tbody>
</table></div>`;
}

/** Facts by their names. */
export function factsOf(facts: readonly (readonly [name: string, value: string | Html])[]): Html {
  return html`<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>\n`)}</dl>`;
}
