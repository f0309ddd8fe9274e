/** `lacuna run`: a prompt goes in, text streams out; several go in, and are continued together. */
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { LacunaError } from '../core/errors.ts';
import type { JobOptions } from '../core/progress.ts';
import { type GenerateOptions, generateRows, type SamplingOptions, type StopReason } from '../runtime/index.ts';
import { type DecodingSession, type Engine, type EngineOptions, openDecodingSession } from './engine.ts';
import { chooseModel } from './model-folder.ts';

export interface RunOptions extends JobOptions, SamplingOptions, Pick<EngineOptions, 'engine' | 'nativeFolder'> {
  readonly folder: string;
  /** Which of the folder's precisions; the first by default. */
  readonly dtype?: string;
  readonly prompt: string;
  readonly maxTokens: number;
  /** Puts the prompt into the model's chat template as the user's message. */
  readonly chat?: boolean;
  /** Goes on past end-of-text tokens. */
  readonly ignoreEos?: boolean;
  /** Called with each piece of text as it is known. */
  readonly onText?: (text: string) => void;
}

export interface RunResult {
  /** What decoded: the native core, or stock onnxruntime-node. */
  readonly engine: Engine;
  readonly text: string;
  readonly promptTokens: readonly number[];
  readonly tokens: readonly number[];
  readonly stopped: StopReason;
  readonly prefillSeconds: number;
  readonly decodeTokensPerSecond: number;
}

export interface RunRowsOptions extends Omit<RunOptions, 'prompt' | 'onText'> {
  readonly prompts: readonly string[];
}

/** One of several texts. */
export type RowResult = Pick<RunResult, 'text' | 'promptTokens' | 'tokens' | 'stopped'>;

export interface RunRowsResult {
  readonly engine: Engine;
  /** In the order of the prompts. */
  readonly rows: readonly RowResult[];
  /** Of all rows together, prompts included. */
  readonly seconds: number;
  readonly tokensPerSecond: number;
}

/** Generates text with a converted folder. */
export async function run(options: RunOptions): Promise<RunResult> {
  return withModel(options, async ({ engine, session, tokenizer, request }) => {
    const promptTokens = encodePrompt(tokenizer, options, options.prompt);
    const decoder = tokenizer.streamDecoder({ skipSpecialTokens: true });
    const tokens: number[] = [];
    let text = '';
    const emit = (piece: string) => {
      text += piece;
      if (piece !== '') options.onText?.(piece);
    };
    const started = performance.now();
    let [first, last] = [started, started];
    const stream = generateRows(session, [promptTokens], request);
    let next = await stream.next();
    for (; !next.done; next = await stream.next()) {
      const { token, at } = next.value;
      if (tokens.length === 0) first = at;
      last = at;
      tokens.push(token);
      emit(decoder.push(token));
    }
    emit(decoder.end());
    return {
      engine,
      text,
      promptTokens,
      tokens,
      stopped: next.value[0],
      prefillSeconds: (first - started) / 1000,
      decodeTokensPerSecond: tokens.length > 1 ? ((tokens.length - 1) * 1000) / (last - first) : 0,
    };
  });
}

/** Continues several prompts: by the native core together, which reads the weights once for all of them. */
export async function runRows(options: RunRowsOptions): Promise<RunRowsResult> {
  return withModel(options, async ({ engine, session, tokenizer, request }) => {
    const prompts = options.prompts.map((prompt) => encodePrompt(tokenizer, options, prompt));
    const tokens = prompts.map((): number[] => []);
    const started = performance.now();
    const stream = generateRows(session, prompts, request);
    let next = await stream.next();
    for (; !next.done; next = await stream.next()) tokens[next.value.row].push(next.value.token);
    const seconds = (performance.now() - started) / 1000;
    const reasons = next.value;
    return {
      engine,
      rows: prompts.map((promptTokens, row) => ({
        text: tokenizer.decode(tokens[row], { skipSpecialTokens: true }),
        promptTokens,
        tokens: tokens[row],
        stopped: reasons[row],
      })),
      seconds,
      tokensPerSecond: tokens.flat().length / seconds,
    };
  });
}

type Tokenizer = Awaited<ReturnType<typeof loadTokenizer>>;

interface Loaded extends DecodingSession {
  readonly tokenizer: Tokenizer;
  readonly request: GenerateOptions;
}

async function withModel<T>(options: Omit<RunOptions, 'prompt'>, use: (loaded: Loaded) => Promise<T>): Promise<T> {
  const {
    manifest: { spec },
    modelPath,
  } = await chooseModel(options.folder, options.dtype);
  const tokenizer = await loadTokenizer(options.folder);
  const decoding = await openDecodingSession(modelPath, options);
  try {
    const request = {
      ...options,
      eosTokenIds: options.ignoreEos ? [] : spec.eosTokenIds,
      contextLength: spec.contextLength,
    };
    return await use({ ...decoding, tokenizer, request });
  } finally {
    await decoding.session.close();
  }
}

function encodePrompt(
  tokenizer: Tokenizer,
  { chat, folder }: Pick<RunOptions, 'chat' | 'folder'>,
  prompt: string,
): number[] {
  if (!chat) return tokenizer.encode(prompt);
  if (!tokenizer.hasChatTemplate) {
    throw new LacunaError('unsupported', `${folder} has no chat template`, {
      hint: 'Run without --chat: the prompt is then continued as it is.',
    });
  }
  const text = tokenizer.chat([{ role: 'user', content: prompt }], { addGenerationPrompt: true });
  // The template writes the special tokens itself.
  return tokenizer.encode(text, { addSpecialTokens: false });
}
