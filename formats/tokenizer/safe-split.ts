/**
 * Cuts long text where byte-pair encoding cannot join the two sides. Tokenizers without a pre-tokenizer (Llama 2,
 * Gemma) merge a whole document as one word. In pieces this takes a tenth of the time and bounded memory.
 */
import { LacunaError } from '../../src/core/errors.ts';

/** Words up to this length need no cutting. */
export const LONG_WORD = 64;
/** Longest piece without a place to cut: the merge loop takes some 300 bytes of memory for each character. */
const MAX_PIECE = 1 << 21;

/**
 * A function that cuts a word into pieces. Encoded one by one, the pieces give the same tokens as the word.
 *
 * Each merge yields an entry of the vocabulary. Two neighbouring characters that are side by side in no entry are never
 * inside one token. Merges on one side do not see the other side, so a cut between them changes nothing.
 */
export function safeSplitter(vocabulary: Iterable<string>): (word: string) => readonly string[] {
  let pairs: ReadonlySet<number> | undefined;
  return (word) => {
    pairs ??= pairsInside(vocabulary);
    return cut(word, pairs);
  };
}

function pairsInside(vocabulary: Iterable<string>): ReadonlySet<number> {
  const pairs = new Set<number>();
  for (const token of vocabulary) for (let i = 1; i < token.length; i++) pairs.add(pairAt(token, i));
  return pairs;
}

/** The UTF-16 units before and at `index` as one number. */
function pairAt(text: string, index: number): number {
  return text.charCodeAt(index - 1) * 0x10000 + text.charCodeAt(index);
}

function cut(word: string, pairs: ReadonlySet<number>): readonly string[] {
  const pieces: string[] = [];
  let start = 0;
  for (let i = 1; i <= word.length; i++) {
    if (i - start > MAX_PIECE) throw tooLong(word.slice(start, start + 20));
    if (i < word.length && (isLowSurrogate(word.charCodeAt(i)) || pairs.has(pairAt(word, i)))) continue;
    pieces.push(word.slice(start, i));
    start = i;
  }
  return pieces;
}

/** The second half of a character of two units. */
function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}

function tooLong(beginning: string): LacunaError {
  return new LacunaError(
    'unsupported',
    `The text "${beginning}…" has more than ${MAX_PIECE} characters that may all be one token`,
    { hint: 'Is this text? Break it into lines, or leave it out.' },
  );
}
