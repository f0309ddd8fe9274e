/** Text that may come from anybody's file, as people are shown it: short, and without characters that steer a terminal. */

/** A tensor's name, a path and a hash are shorter; a name of megabytes hides what is said of it. */
const LONGEST_WORD = 300;

/** A list of some hundred names fits; more than a few screens is read by nobody. */
const LONGEST_TEXT = 10_000;

/** What moves the cursor, colours, rings or turns the direction of writing; lines and tabs aside. */
export const STEERING = /(?![\n\t])[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;

/**
 * `text` with control characters written out and whatever is too long cut in its middle: what is said at the end often
 * matters most.
 *
 * @example shown('tensor "\u001b[31m"'); // tensor "\x1b[31m"
 */
export function shown(text: string): string {
  return visible(cut(withShortWords(text), LONGEST_TEXT));
}

/** `text` of any length, with words cut in their middle that are longer than any name or path. */
export function withShortWords(text: string): string {
  return text.replace(/\S+/g, (word) => cut(word, LONGEST_WORD));
}

/** `text` of any length, with control characters written out: `\x1b`, `\u202e`. */
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
