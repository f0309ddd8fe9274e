/** A tokenizer from the files of a model: text to ids, ids to text, messages to text. */
import type { ModelFiles } from '../../src/core/checkpoint.ts';
import { LacunaError } from '../../src/core/errors.ts';
import { isJsonObject, type JsonObject } from '../../src/core/json.ts';
import { labelOf, MAX_SMALL_FILE_BYTES, openModelFiles, readSmallJson } from '../small-files.ts';
import {
  type ChatMessage,
  type ChatOptions,
  chatRenderer,
  findChatTemplate,
  MAX_CONFIG_BYTES,
} from './chat-template.ts';
import { type HubTokenizer, openHubTokenizer } from './hub-tokenizer.ts';
import { type DecodePlan, decodePlan, openStreamDecoder, type StreamDecoder } from './stream-decode.ts';

interface EncodeOptions {
  /** Whether to add the tokenizer's own tokens around a text, such as `<bos>` (default true). */
  readonly addSpecialTokens?: boolean;
}

interface DecodeOptions {
  /** Whether to leave out tokens that are marks for the model (default false). */
  readonly skipSpecialTokens?: boolean;
}

export interface Tokenizer {
  encode(text: string, options?: EncodeOptions): number[];
  /** Bytes that are not UTF-8 become U+FFFD. Ids outside the vocabulary become nothing. */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** Decodes token by token. The pieces together equal the result of `decode`. */
  streamDecoder(options?: DecodeOptions): StreamDecoder;
  readonly hasChatTemplate: boolean;
  /** A conversation as text. It holds its special tokens, so encode it with `addSpecialTokens: false`. */
  chat(messages: readonly ChatMessage[], options: ChatOptions): string;
  /** The first token of `encode`; undefined if `encode` adds none. */
  readonly bosTokenId: number | undefined;
  /** The token that ends a text; undefined if none is named. */
  readonly eosTokenId: number | undefined;
}

/**
 * Loads the tokenizer of a folder or a checkpoint: tokenizer.json, and if they exist tokenizer_config.json,
 * special_tokens_map.json, and the chat template from its file.
 *
 * Throws 'not-found' without tokenizer.json, 'bad-file' when it is damaged, 'unsupported' for unsupported kinds.
 *
 * @example
 * const tokenizer = await loadTokenizer('model');
 * tokenizer.decode(tokenizer.encode('Hello')); // 'Hello', after what the tokenizer itself adds
 */
export async function loadTokenizer(source: string | ModelFiles): Promise<Tokenizer> {
  const model = typeof source === 'string' ? await openModelFiles(source) : source;
  const json = await readSmallJson(model, 'tokenizer.json', MAX_SMALL_FILE_BYTES);
  if (json === undefined) throw missing(model.path);
  const config = (await readSmallJson(model, 'tokenizer_config.json', MAX_CONFIG_BYTES)) ?? {};
  const map = (await readSmallJson(model, 'special_tokens_map.json', MAX_CONFIG_BYTES)) ?? {};
  const path = labelOf(model, 'tokenizer.json');
  const hub = openHubTokenizer(json, config, path);
  const template = await findChatTemplate(model, config);
  return makeTokenizer(hub, decodePlan(json.decoder, path), template, specialTokens({ ...map, ...config }));
}

function missing(path: string): LacunaError {
  return new LacunaError('not-found', `No tokenizer.json in ${path}`, {
    hint: `Copy it there from the model's page; one is made from tokenizer.model with Transformers: AutoTokenizer.from_pretrained('${path}').save_pretrained('${path}')`,
  });
}

/** The named special tokens, as templates know them: `bos_token`, `eos_token` and so on. */
function specialTokens(config: JsonObject): Readonly<Record<string, string>> {
  const tokens: Record<string, string> = {};
  for (const [key, value] of Object.entries(config)) {
    if (!key.endsWith('_token')) continue;
    const content = isJsonObject(value) ? value.content : value;
    if (typeof content === 'string') tokens[key] = content;
  }
  return tokens;
}

function makeTokenizer(
  hub: HubTokenizer,
  plan: DecodePlan,
  template: string | undefined,
  special: Readonly<Record<string, string>>,
): Tokenizer {
  const encode = (text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] =>
    checkedIds(hub.encode(text, { add_special_tokens: addSpecialTokens }).ids, text);
  const skipped = skippedIds(hub, special);
  const bytesOf = tokenBytes(hub, plan);
  const streamDecoder = ({ skipSpecialTokens = false }: DecodeOptions = {}): StreamDecoder =>
    openStreamDecoder(plan, (id) => (skipSpecialTokens && skipped.has(id) ? undefined : bytesOf(id)));
  return {
    encode,
    streamDecoder,
    decode: (ids, options) => {
      const decoder = streamDecoder(options);
      return ids.map((id) => decoder.push(id)).join('') + decoder.end();
    },
    hasChatTemplate: template !== undefined,
    chat: template === undefined ? refuseChat : chatRenderer(template, special),
    bosTokenId: prependedId(encode),
    eosTokenId: special.eos_token === undefined ? undefined : hub.token_to_id(special.eos_token),
  };
}

/** A vocabulary without an unknown token and without some byte has no id for some texts. */
function checkedIds(ids: readonly (number | undefined)[], text: string): number[] {
  return ids.map((id) => {
    if (id !== undefined) return id;
    throw new LacunaError('unsupported', `The tokenizer has no token for a part of "${text.slice(0, 40)}"`);
  });
}

function skippedIds(hub: HubTokenizer, special: Readonly<Record<string, string>>): ReadonlySet<number> {
  const added = [...hub.get_added_tokens_decoder()].filter(([, token]) => token.special).map(([id]) => id);
  const named = Object.values(special).map((content) => hub.token_to_id(content));
  return new Set([...added, ...named.filter((id) => id !== undefined)]);
}

/** Bytes of tokens by id, computed once for each. */
function tokenBytes(hub: HubTokenizer, plan: DecodePlan): (id: number) => Uint8Array | undefined {
  const known = new Map<number, Uint8Array>();
  return (id) => {
    const token = known.has(id) ? undefined : hub.id_to_token(id);
    if (token !== undefined) known.set(id, plan.tokenBytes(token));
    return known.get(id);
  };
}

function prependedId(encode: Tokenizer['encode']): number | undefined {
  const [first] = encode('a');
  const [bare] = encode('a', { addSpecialTokens: false });
  return first === bare ? undefined : first;
}

function refuseChat(): never {
  throw new LacunaError('not-found', 'The tokenizer has no chat template', {
    hint: 'Give the prompt as plain text, or add chat_template.jinja to the folder.',
  });
}
