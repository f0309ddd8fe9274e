/** Parts of a tokenizer.json that both kinds of vocabulary have. */
import type { GgmlTokenizer } from './metadata.ts';

/** All of tokenizer.json except the added tokens. */
export interface TokenizerParts {
  readonly normalizer: object | null;
  readonly pre_tokenizer: object | null;
  readonly post_processor: object | null;
  readonly decoder: object;
  /** Tokens by id, spelt as in the vocabulary of the model. */
  readonly tokens: readonly string[];
  /** Made on request, because computing sentencepiece's merges takes seconds. */
  readonly model: () => object;
}

export type Merge = readonly [left: string, right: string];

interface BpeOptions {
  readonly unknown: string | null;
  readonly byteFallback: boolean;
  readonly ignoreMerges: boolean;
}

export function bpeModel(tokens: readonly string[], merges: readonly Merge[], options: BpeOptions): object {
  return {
    type: 'BPE',
    dropout: null,
    unk_token: options.unknown,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: options.byteFallback,
    byte_fallback: options.byteFallback,
    ignore_merges: options.ignoreMerges,
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges,
  };
}

/** Puts the BOS before a text and the EOS after it, if the file says so. */
export function surroundings({ tokens, ...tokenizer }: GgmlTokenizer, addsBos: boolean): object | null {
  const bos = addsBos ? tokenizer.bos_token_id : undefined;
  const eos = tokenizer.add_eos_token ? tokenizer.eos_token_id : undefined;
  if (bos === undefined && eos === undefined) return null;
  const special = (id: number | undefined, type: number) =>
    id === undefined ? [] : [{ SpecialToken: { id: tokens[id], type_id: type } }];
  const around = (name: string, type: number) => [
    ...special(bos, type),
    { Sequence: { id: name, type_id: type } },
    ...special(eos, type),
  ];
  const used = [bos, eos].filter((id) => id !== undefined);
  return {
    type: 'TemplateProcessing',
    single: around('A', 0),
    pair: [...around('A', 0), ...around('B', 1)],
    special_tokens: Object.fromEntries(
      used.map((id) => [tokens[id], { id: tokens[id], ids: [id], tokens: [tokens[id]] }]),
    ),
  };
}
