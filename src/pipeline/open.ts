/** A model folder opened to write texts: prompts in, text out, one text at a time, until it is closed. */
/// <reference lib="esnext.disposable" preserve="true" />

import * as z from 'zod';
import { type ChatMessage, loadTokenizer, type Tokenizer } from '../../formats/tokenizer/index.ts';
import { LacunaError } from '../core/errors.ts';
import type { ModelSpec } from '../core/model.ts';
import { checkArgument, listOf, optionsOf, path } from '../core/options.ts';
import type { PrecisionName } from '../core/precision.ts';
import type { JobOptions } from '../core/progress.ts';
import { SAMPLING, type SamplingOptions } from '../core/sampling.ts';
import { type GenerateOptions, type StopReason, type Turns, takeTurns } from '../runtime/index.ts';
import { type Engine, openDecodingSession } from './engine/engine.ts';
import { calledOperators, chooseModel } from './folder/model-folder.ts';
import { DECODER, flag, JOB, precision } from './options.ts';

export type { ChatMessage };

/** What a folder's model is opened by. */
export const OPENED = {
  ...JOB,
  ...DECODER,
  /** Which of the folder's precisions; the first by default. */
  dtype: precision,
};

export const openOptions = optionsOf({}, OPENED);

export interface OpenOptions extends JobOptions, z.infer<typeof openOptions> {}

export const promptSchema = z.union([
  z.string(),
  listOf(optionsOf({ role: z.string().min(1), content: z.string() }, {})),
]);

/** A text to continue, or a conversation, which goes through the model's chat template. */
export type Prompt = z.infer<typeof promptSchema>;

/** What texts are made by. */
export const GENERATED = {
  ...SAMPLING,
  /** Tokens to make at most; 128 by default. */
  maxTokens: z.int().min(0),
  /** Goes on past end-of-text tokens. */
  ignoreEos: flag,
  signal: JOB.signal,
};

export const generationOptions = optionsOf({}, GENERATED);

/** The likeliest token each time, unless one of the options of sampling is given: `temperature` is then 1 by default. */
export interface GenerationOptions extends SamplingOptions, z.infer<typeof generationOptions> {}

/** A generated text, without its prompt. */
export interface GeneratedText {
  readonly text: string;
  readonly promptTokens: readonly number[];
  readonly tokens: readonly number[];
  readonly stopped: StopReason;
}

export interface Generation extends GeneratedText {
  readonly prefillSeconds: number;
  readonly decodeTokensPerSecond: number;
}

export interface Generations {
  /** In the order of the prompts. */
  readonly rows: readonly GeneratedText[];
  /** For all rows together, prompts included. */
  readonly seconds: number;
  readonly tokensPerSecond: number;
}

/**
 * A model in memory. It makes one text at a time. Calls wait for each other, in the order in which they are first read.
 * Read a stream to its end or leave it (`break`, `return()`), because later calls wait for it. All methods throw
 * `usage` for wrong arguments and after the model is closed, and `interrupted` when their signal is aborted.
 */
export interface Model {
  readonly folder: string;
  readonly precision: PrecisionName;
  /** The engine: the native core, or stock onnxruntime-node. */
  readonly engine: Engine;
  readonly spec: ModelSpec;
  /** The text that follows the prompt. */
  generate(prompt: Prompt, options?: GenerationOptions): Promise<Generation>;
  /** The same, piece by piece. Leaving the loop ends the generation. */
  stream(prompt: Prompt, options?: GenerationOptions): AsyncGenerator<string, Generation, void>;
  /** Continues several prompts. The native core continues them together and reads the weights once for all of them. */
  generateAll(prompts: readonly Prompt[], options?: GenerationOptions): Promise<Generations>;
  /** A text as token ids, with the tokens that the tokenizer adds around it. */
  tokens(text: string): number[];
  /** The text of token ids, without special tokens. */
  text(tokens: readonly number[]): string;
  /** Ends a running generation and frees the model. Closing it again does nothing. */
  close(): Promise<void>;
  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

const DEFAULT_MAX_TOKENS = 128;

/**
 * Opens a folder made by `convert`, `sparsify` or `build`.
 *
 * @example
 * const model = await open('./sparse');
 * const { text } = await model.generate('The capital of France is', { maxTokens: 16 });
 * for await (const piece of model.stream([{ role: 'user', content: 'Who was Ada Lovelace?' }])) console.log(piece);
 * await model.close();
 */
export async function open(folder: string, given: OpenOptions = {}): Promise<Model> {
  checkArgument(path, folder, { of: 'open', name: 'folder' });
  const options = checkArgument(openOptions, given, { of: 'open' });
  const chosen = await chooseModel(folder, options.dtype);
  const { manifest, model, modelPath } = chosen;
  const { spec } = manifest;
  const tokenizer = await loadTokenizer(folder);
  const { engine, session } = await openDecodingSession(modelPath, {
    ...options,
    operatorSet: calledOperators(chosen),
  });
  const turns = takeTurns(session);
  let closed: Promise<void> | undefined;
  const check = <T>(schema: z.ZodType<T>, given: unknown, name?: string): T => {
    if (closed === undefined) return checkArgument(schema, given, { of: 'a generation', name });
    throw new LacunaError('usage', `The model of ${folder} is closed`, { hint: `Open it again: open('${folder}')` });
  };
  const tokenIds = z.array(z.int().min(0).lt(spec.vocabSize));
  const encode = (prompt: Prompt) => encodePrompt(tokenizer, folder, prompt);
  const stream: Model['stream'] = (prompt, given = {}) => {
    const request = requestOf(spec, check(generationOptions, given));
    const promptTokens = encode(check(promptSchema, prompt, 'prompt'));
    return pieces(tokenizer, promptTokens, turns.rows([promptTokens], request));
  };
  const close = () => (closed ??= turns.close());
  return {
    folder,
    precision: model.precision,
    engine,
    spec,
    stream,
    generate: async (prompt, given) => resultOf(stream(prompt, given)),
    generateAll: async (prompts, given = {}) => {
      const request = requestOf(spec, check(generationOptions, given));
      const encoded = check(listOf(promptSchema), prompts, 'prompts').map(encode);
      return together(tokenizer, encoded, turns.rows(encoded, request));
    },
    tokens: (text) => tokenizer.encode(check(z.string(), text, 'text')),
    text: (ids) => tokenizer.decode(check(tokenIds, ids, 'tokens'), { skipSpecialTokens: true }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function encodePrompt(tokenizer: Tokenizer, folder: string, prompt: Prompt): number[] {
  if (typeof prompt === 'string') return tokenizer.encode(prompt);
  if (!tokenizer.hasChatTemplate)
    throw new LacunaError('unsupported', `${folder} has no chat template`, {
      hint: 'Give the prompt as a text (in the command line: without --chat); it is then continued as it is.',
    });
  // The template writes the special tokens itself.
  return tokenizer.encode(tokenizer.chat(prompt, { addGenerationPrompt: true }), { addSpecialTokens: false });
}

function requestOf({ eosTokenIds, contextLength }: ModelSpec, given: GenerationOptions): GenerateOptions {
  const { maxTokens = DEFAULT_MAX_TOKENS, ignoreEos, temperature, ...rest } = given;
  const { topK, topP, minP, seed } = rest;
  // With an option of sampling, the text is not greedy.
  const isSampled = [topK, topP, minP, seed].some((option) => option !== undefined);
  return {
    ...rest,
    maxTokens,
    temperature: temperature ?? (isSampled ? 1 : 0),
    eosTokenIds: ignoreEos ? [] : eosTokenIds,
    contextLength,
  };
}

type Rows = ReturnType<Turns['rows']>;

/** The pieces of one text, each as soon as its tokens determine it. */
async function* pieces(
  tokenizer: Tokenizer,
  promptTokens: readonly number[],
  rows: Rows,
): AsyncGenerator<string, Generation, void> {
  const decoder = tokenizer.streamDecoder({ skipSpecialTokens: true });
  const tokens: number[] = [];
  const started = performance.now();
  let [first, last, text] = [started, started, ''];
  try {
    let next = await rows.next();
    for (; !next.done; next = await rows.next()) {
      const { token, at } = next.value;
      if (tokens.length === 0) first = at;
      last = at;
      tokens.push(token);
      const piece = decoder.push(token);
      text += piece;
      if (piece !== '') yield piece;
    }
    const rest = decoder.end();
    if (rest !== '') yield rest;
    return {
      text: text + rest,
      promptTokens,
      tokens,
      stopped: next.value[0],
      prefillSeconds: (first - started) / 1000,
      decodeTokensPerSecond: tokens.length > 1 ? ((tokens.length - 1) * 1000) / (last - first) : 0,
    };
  } finally {
    await rows.return([]);
  }
}

/** What a generator returns in the end, after `each` of what it yields. */
export async function resultOf<T, R>(generator: AsyncGenerator<T, R, void>, each?: (yielded: T) => void): Promise<R> {
  let next = await generator.next();
  for (; !next.done; next = await generator.next()) each?.(next.value);
  return next.value;
}

async function together(
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  rows: Rows,
): Promise<Generations> {
  const tokens = prompts.map((): number[] => []);
  const started = performance.now();
  const reasons = await resultOf(rows, ({ row, token }) => tokens[row].push(token));
  const seconds = (performance.now() - started) / 1000;
  return {
    rows: prompts.map((promptTokens, row) => ({
      text: tokenizer.decode(tokens[row], { skipSpecialTokens: true }),
      promptTokens,
      tokens: tokens[row],
      stopped: reasons[row],
    })),
    seconds,
    tokensPerSecond: tokens.flat().length / seconds,
  };
}
