/** A text, each token shaded by what it computed. */
import { percent } from '../../core/figures.ts';
import { leavesOut } from '../../core/plan.ts';
import { type Html, html } from '../html.ts';
import { mean } from '../layers.ts';
import { aside, ofFolder, shown } from '../section.ts';
import { tableOf } from '../table.ts';

/** Shades, in the style sheet. */
const SHADES = 6;

export const sample = ofFolder('sample', 'A text, token by token', ({ sample: found, manifest: { plan } }) => {
  if (!leavesOut(plan)) return aside('nothing is left out of this model: every token computes all');
  if (found === null || found.tokens.length === 0)
    return aside('no text was run', ['lacuna report DIR --sample -o report.html']);
  const isSkip = plan.target.kind === 'skipped-blocks';
  const shares = found.tokens.map(({ computed, ran }) => (isSkip ? ran : computed));
  const [least, most] = [Math.min(...shares), Math.max(...shares)];
  const what = isSkip ? 'FFN blocks that it ran' : 'FFN neurons that it computed';
  const shadeOf = (share: number) =>
    most === least ? 0 : Math.min(SHADES - 1, Math.floor((SHADES * (share - least)) / (most - least)));
  return shown(
    `Each token of ${found.text} is shaded by the share of ${what}, over all layers: from ${percent(least)} (faint) to ${percent(most)} (strong), ${percent(mean(shares))} in the mean.`,
    html`<p class="sample" lang="">${found.tokens.map(({ text }, at) => tokenOf(text, shares[at], shadeOf(shares[at])))}</p>
<details><summary>The numbers</summary>${tableOf({
      header: ['Token', 'Text', 'FFN computed', 'Blocks run'],
      rows: found.tokens.map(({ text, computed, ran }, at) => [
        String(at),
        JSON.stringify(text),
        percent(computed),
        percent(ran),
      ]),
    })}</details>`,
  );
});

/** Spaces are shown as they are, and what moves the cursor is not. */
function tokenOf(text: string, share: number, shade: number): Html {
  return html`<span class="shade-${shade}" title="${percent(share)}">${text.replaceAll('\n', '⏎\n')}</span>`;
}
