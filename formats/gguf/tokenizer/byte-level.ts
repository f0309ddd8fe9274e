/** GPT-2's byte-level BPE, with the pre-tokenizer that `tokenizer.ggml.pre` names. GGUF holds only the name. */
import { badGguf } from '../cursor.ts';
import { type GgmlTokenizer, unsupportedTokenizer } from './metadata.ts';
import { bpeModel, type Merge, surroundings, type TokenizerParts } from './parts.ts';

interface PreTokenizer {
  readonly json: object;
  /** Whether words that are tokens stay whole, without merges. */
  readonly ignoreMerges: boolean;
  /** The default if the file does not say. */
  readonly addsBos: boolean;
}

const byteLevel = (useRegex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});

const sequence = (...pretokenizers: readonly object[]) => ({ type: 'Sequence', pretokenizers });

/** GPT-2's words, with every digit alone. */
const DIGITS: PreTokenizer = {
  json: sequence({ type: 'Digits', individual_digits: true }, byteLevel(true)),
  ignoreMerges: false,
  addsBos: false,
};

const LLAMA3_WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const LLAMA3: PreTokenizer = {
  json: sequence(
    { type: 'Split', pattern: { Regex: LLAMA3_WORDS }, behavior: 'Isolated', invert: false },
    byteLevel(false),
  ),
  ignoreMerges: true,
  addsBos: true,
};

/** By `tokenizer.ggml.pre`. */
const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map([
  ['gpt-2', { json: byteLevel(true), ignoreMerges: false, addsBos: false }],
  ['smollm', DIGITS],
  ['llama-bpe', LLAMA3],
  ['llama3', LLAMA3],
  ['llama-v3', LLAMA3],
]);

export function byteLevelBpe(tokenizer: GgmlTokenizer): TokenizerParts {
  const pre = PRE_TOKENIZERS.get(tokenizer.pre ?? '');
  if (pre === undefined) {
    const what = tokenizer.pre === undefined ? 'does not say' : `says "${tokenizer.pre}" for`;
    const built = [...PRE_TOKENIZERS.keys()].join(', ');
    throw unsupportedTokenizer(tokenizer, `${what} how text is cut into words; built are ${built}`);
  }
  const merges = splitMerges(tokenizer);
  return {
    normalizer: null,
    pre_tokenizer: pre.json,
    post_processor: surroundings(tokenizer, tokenizer.add_bos_token ?? pre.addsBos),
    decoder: { ...byteLevel(true), add_prefix_space: true },
    tokens: tokenizer.tokens,
    model: () =>
      bpeModel(tokenizer.tokens, merges, { unknown: null, byteFallback: false, ignoreMerges: pre.ignoreMerges }),
  };
}

/** "Ġ t" is the pair of "Ġ" and "t". No token has a space in it, because bytes are written as letters. */
function splitMerges({ merges, path }: GgmlTokenizer): Merge[] {
  if (merges === undefined) throw badGguf(path, 'its byte-level tokenizer has no tokenizer.ggml.merges');
  return merges.map((merge) => {
    const [left, right, ...rest] = merge.split(' ');
    if (!left || !right || rest.length > 0) throw badGguf(path, `the merge "${merge.slice(0, 40)}" is no pair`);
    return [left, right];
  });
}
