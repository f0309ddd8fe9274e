/** The vocabulary in a GGUF file -> tokenizer.json and tokenizer_config.json. */
import type { SmallFile } from '../../../src/core/checkpoint.ts';
import { type JsonObject, prettyJson } from '../../../src/core/json.ts';
import { byteLevelBpe } from './byte-level.ts';
import { type GgmlTokenizer, TOKEN_TYPE, unsupportedTokenizer } from './metadata.ts';
import type { TokenizerParts } from './parts.ts';
import { sentencepieceBpe } from './sentencepiece.ts';

export { readGgmlTokenizer, specialTokenIds } from './metadata.ts';

/** By `tokenizer.ggml.model`. */
const KINDS: ReadonlyMap<string, (tokenizer: GgmlTokenizer) => TokenizerParts> = new Map([
  ['gpt2', byteLevelBpe],
  ['llama', sentencepieceBpe],
]);

/** The files by their names, made on request. Throws 'unsupported' at once for an unknown kind of vocabulary. */
export function tokenizerFiles(tokenizer: GgmlTokenizer): Map<string, SmallFile> {
  const partsOf = KINDS.get(tokenizer.model);
  if (partsOf === undefined)
    throw unsupportedTokenizer(tokenizer, `is of kind "${tokenizer.model}"; built are ${[...KINDS.keys()].join(', ')}`);
  const { model, tokens, ...parts } = partsOf(tokenizer);
  const added = addedTokens(tokens, tokenizer);
  const json = { version: '1.0', truncation: null, padding: null, added_tokens: added, ...parts };
  return new Map([
    ['tokenizer.json', { text: () => JSON.stringify({ ...json, model: model() }) }],
    ['tokenizer_config.json', { text: () => prettyJson(tokenizerConfig(tokenizer)) }],
  ]);
}

/** Spelt as in the vocabulary: Rust's library would give a token outside it an id of its own. */
function addedTokens(tokens: readonly string[], { token_type: types = [] }: GgmlTokenizer): object[] {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  return tokens.flatMap((content, id) => {
    const special = types[id] === TOKEN_TYPE.control;
    return special || types[id] === TOKEN_TYPE.userDefined ? [{ id, content, ...flags, special }] : [];
  });
}

function tokenizerConfig(tokenizer: GgmlTokenizer): JsonObject {
  const { tokens, chatTemplate } = tokenizer;
  const named = {
    bos_token: tokenizer.bos_token_id,
    eos_token: tokenizer.eos_token_id,
    pad_token: tokenizer.padding_token_id,
    unk_token: tokenizer.unknown_token_id,
  };
  const known = Object.entries(named).filter(([, id]) => id !== undefined);
  return {
    ...Object.fromEntries(known.map(([name, id]) => [name, tokens[Number(id)]])),
    clean_up_tokenization_spaces: false,
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...(chatTemplate !== undefined && { chat_template: chatTemplate }),
  };
}
