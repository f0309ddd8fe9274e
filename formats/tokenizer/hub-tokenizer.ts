/** Opens @huggingface/tokenizers with types: its own declarations do not resolve under Node's rules. */
import { Tokenizer } from '@huggingface/tokenizers';
import { LacunaError } from '../../src/core/errors.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { LONG_WORD, safeSplitter } from './safe-split.ts';
import { blaming, withinTime } from './within-time.ts';

/** The used part of it. */
export interface HubTokenizer {
  /** An id is undefined if the vocabulary has neither the piece nor an unknown token. */
  encode(text: string, options: { add_special_tokens: boolean }): { readonly ids: readonly (number | undefined)[] };
  id_to_token(id: number): string | undefined;
  token_to_id(token: string): number | undefined;
  get_added_tokens_decoder(): ReadonlyMap<number, { readonly special: boolean }>;
  readonly model: Model;
}

interface Model {
  readonly tokens_to_ids: ReadonlyMap<string, number>;
  readonly end_of_word_suffix?: string | null;
  readonly continuing_subword_suffix?: string | null;
  /** Splits one word by merges. Only byte-pair encoding has it. It is replaced here, so it is writable. */
  bpe?: (word: string) => readonly string[];
}

/** What encoding may take: twenty times what a slow machine does, for the regular expressions are a stranger's. */
const ENCODE_MS = 5000;
const ENCODE_MS_A_CHARACTER = 0.05;

/** The tokenizer of a tokenizer.json at `path`, made to take text of any length, and to end on any. */
export function openHubTokenizer(json: JsonObject, config: JsonObject, path: string): HubTokenizer {
  const hub: HubTokenizer = sound(path, () => new Tokenizer({ added_tokens: [], ...json }, config));
  const { model } = hub;
  const encodeWord = model.bpe?.bind(model);
  if (encodeWord === undefined || model.end_of_word_suffix || model.continuing_subword_suffix)
    throw new LacunaError('unsupported', `${path}: its model is not byte-pair encoding without suffixes`, {
      hint: 'Tokenizers of LLaMA and Gemma models are supported.',
    });
  const split = safeSplitter(model.tokens_to_ids.keys());
  model.bpe = (word) => (word.length <= LONG_WORD ? encodeWord(word) : split(word).flatMap(encodeWord));
  const encode = hub.encode.bind(hub);
  hub.encode = (text, options) => {
    const most = ENCODE_MS + Math.ceil(text.length * ENCODE_MS_A_CHARACTER);
    return sound(path, () => withinTime(most, `The tokenizer ${path}`, () => encode(text, options)));
  };
  return hub;
}

/** The package checks little of a tokenizer.json: what is wrong in it shows when it is used. */
function sound<T>(path: string, use: () => T): T {
  return blaming(use, 'bad-file', `${path} is no sound tokenizer`, "Get the model's tokenizer.json again.");
}
