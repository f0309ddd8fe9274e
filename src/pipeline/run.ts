/** `lacuna run`: a prompt goes in, text streams out. */
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { LacunaError } from '../core/errors.ts';
import type { JobOptions } from '../core/progress.ts';
import { generate, type SamplingOptions, type StopReason } from '../runtime/index.ts';
import { type Engine, type EngineOptions, openDecodingSession } from './engine.ts';
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

/** Generates text with a converted folder. */
export async function run(options: RunOptions): Promise<RunResult> {
  const {
    manifest: { spec },
    modelPath,
  } = await chooseModel(options.folder, options.dtype);
  const tokenizer = await loadTokenizer(options.folder);
  const promptTokens = encodePrompt(tokenizer, options);
  const { engine, session } = await openDecodingSession(modelPath, options);
  try {
    const decoder = tokenizer.streamDecoder({ skipSpecialTokens: true });
    const tokens: number[] = [];
    let text = '';
    const emit = (piece: string) => {
      text += piece;
      if (piece !== '') options.onText?.(piece);
    };
    const started = performance.now();
    let first = started;
    const stream = generate(session, promptTokens, {
      ...options,
      eosTokenIds: options.ignoreEos ? [] : spec.eosTokenIds,
      contextLength: spec.contextLength,
    });
    let next = await stream.next();
    for (; !next.done; next = await stream.next()) {
      if (tokens.length === 0) first = performance.now();
      tokens.push(next.value);
      emit(decoder.push(next.value));
    }
    emit(decoder.end());
    const decodeSeconds = (performance.now() - first) / 1000;
    return {
      engine,
      text,
      promptTokens,
      tokens,
      stopped: next.value,
      prefillSeconds: (first - started) / 1000,
      decodeTokensPerSecond: tokens.length > 1 ? (tokens.length - 1) / decodeSeconds : 0,
    };
  } finally {
    await session.close();
  }
}

function encodePrompt(
  tokenizer: Awaited<ReturnType<typeof loadTokenizer>>,
  { prompt, chat, folder }: RunOptions,
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
