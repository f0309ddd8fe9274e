/** HTML that is escaped where it is put together: whatever a template does not hold itself is text, unless it is `Html`. */
import { visible, withShortWords } from '../core/shown.ts';

/** Markup. Only `html`, `markup` and `joined` make it. */
export interface Html {
  readonly markup: string;
}

type Part = Html | string | number | readonly Part[];

/**
 * A template of markup. Text in it is escaped, and shown without control of its surroundings, however hostile the file that it is
 * from.
 *
 * @example html`<b>${'a < b'}</b>`.markup; // '<b>a &lt; b</b>'
 */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return { markup: strings.map((text, at) => text + (at < parts.length ? markupOf(parts[at]) : '')).join('') };
}

/** Nothing. */
export const EMPTY: Html = { markup: '' };

/** What is markup already: of our own, or of a library that escapes. */
export function markup(text: string): Html {
  return { markup: text };
}

function markupOf(part: Part): string {
  if (typeof part === 'number') return String(part);
  if (typeof part === 'string') return escaped(plain(part));
  return 'markup' in part ? part.markup : part.map(markupOf).join('');
}

/** Text from a file as people see it. */
export function plain(text: string): string {
  return visible(withShortWords(text));
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]);
}
