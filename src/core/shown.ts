/** Text from a file that anybody may have made, as people see it: short, and without control of the terminal. */

/** Names of tensors, paths and hashes are shorter. A name of megabytes would hide the rest of a message. */
const LONGEST_WORD = 300;

/** A list of some hundred names fits. Nobody reads more than a few screens. */
const LONGEST_TEXT = 10_000;

/** Characters that move the cursor, change colours, ring, or turn the direction of writing; not line ends and tabs. */
export const STEERING = /(?![\n\t])[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;

/**
 * `text` with control characters escaped. Text that is too long is cut in its middle, because its end often matters
 * most.
 *
 * @example shown('tensor "\u001b[31m"'); // tensor "\x1b[31m"
 */
export function shown(text: string): string {
  return visible(cut(withShortWords(text), LONGEST_TEXT));
}

/** `text` of any length. Words longer than any name or path are cut in their middle. */
export function withShortWords(text: string): string {
  return text.replace(/\S+/g, (word) => cut(word, LONGEST_WORD));
}

/** `text` of any length, with control characters escaped: `\x1b`, `\u202e`. */
export function visible(text: string): string {
  return text.replace(STEERING, (character) => {
    const code = character.charCodeAt(0).toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u${code.padStart(4, '0')}`;
  });
}

function cut(text: string, longest: number): string {
  if (text.length <= longest) return text;
  const kept = Math.floor(longest / 3);
  return `${text.slice(0, 2 * kept)}[… ${text.length - 3 * kept} characters …]${text.slice(-kept)}`;
}
