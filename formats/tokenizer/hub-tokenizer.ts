/** Opens @huggingface/tokenizers, typed: the declarations it ships do not resolve under Node's rules. */
import { Tokenizer } from '@huggingface/tokenizers';
import { LacunaError } from '../../src/core/errors.ts';
import { LONG_WORD, safeSplitter } from './safe-split.ts';

/** What is used of it. */
export interface HubTokenizer {
  /** An id is undefined where the vocabulary has neither the piece nor an unknown token. */
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
  /** Splits one word by merges; only byte-pair encoding has it. Replaced here, hence writable. */
  bpe?: (word: string) => readonly string[];
}

type Json = Readonly<Record<string, unknown>>;

/** The tokenizer of a tokenizer.json at `path`, made to take text of any length. */
export function openHubTokenizer(json: Json, config: Json, path: string): HubTokenizer {
  const hub = construct(json, config, path);
  const { model } = hub;
  const encodeWord = model.bpe?.bind(model);
  if (encodeWord === undefined || model.end_of_word_suffix || model.continuing_subword_suffix)
    throw new LacunaError('unsupported', `${path}: its model is not byte-pair encoding without suffixes`, {
      hint: 'Tokenizers of LLaMA and Gemma models are supported.',
    });
  const split = safeSplitter(model.tokens_to_ids.keys());
  model.bpe = (word) => (word.length <= LONG_WORD ? encodeWord(word) : split(word).flatMap(encodeWord));
  return hub;
}

function construct(json: Json, config: Json, path: string): HubTokenizer {
  try {
    return new Tokenizer({ added_tokens: [], ...json }, config);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LacunaError('bad-file', `${path} is no sound tokenizer: ${reason}`, { cause });
  }
}
