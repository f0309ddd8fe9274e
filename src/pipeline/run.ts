/** `lacuna run`: streams the text that follows a prompt, or continues several prompts together. */
import type { Engine } from './engine/engine.ts';
import {
  type Generation,
  type GenerationOptions,
  type Generations,
  type Model,
  type OpenOptions,
  open,
  type Prompt,
} from './open.ts';

export interface RunOptions extends OpenOptions, GenerationOptions {
  readonly folder: string;
  readonly prompt: string;
  /** Puts the prompt into the model's chat template as the user's message. */
  readonly chat?: boolean;
  /** Called with each piece of text as soon as it is known. */
  readonly onText?: (text: string) => void;
}

export interface RunResult extends Generation {
  /** The engine: the native core, or stock onnxruntime-node. */
  readonly engine: Engine;
}

export interface RunRowsOptions extends Omit<RunOptions, 'prompt' | 'onText'> {
  readonly prompts: readonly string[];
}

export interface RunRowsResult extends Generations {
  readonly engine: Engine;
}

/**
 * Generates one text with a converted folder. It opens the folder for this text and closes it again; `open` keeps it
 * open.
 *
 * @example const { text } = await run({ folder: 'out/dense', prompt: 'In the beginning' });
 */
export async function run({ prompt, onText, ...options }: RunOptions): Promise<RunResult> {
  return withModel(options, async (model, generation) => {
    const stream = model.stream(promptOf(prompt, options), generation);
    let next = await stream.next();
    for (; !next.done; next = await stream.next()) onText?.(next.value);
    return { engine: model.engine, ...next.value };
  });
}

/** Continues several prompts. The native core continues them together and reads the weights once for all of them. */
export async function runRows({ prompts, ...options }: RunRowsOptions): Promise<RunRowsResult> {
  return withModel(options, async (model, generation) => {
    const wanted = prompts.map((prompt) => promptOf(prompt, options));
    return { engine: model.engine, ...(await model.generateAll(wanted, generation)) };
  });
}

function promptOf(prompt: string, { chat }: Pick<RunOptions, 'chat'>): Prompt {
  return chat ? [{ role: 'user', content: prompt }] : prompt;
}

async function withModel<T>(
  options: Omit<RunRowsOptions, 'prompts'>,
  use: (model: Model, generation: GenerationOptions) => Promise<T>,
): Promise<T> {
  const { folder, chat: _, dtype, engine, nativeFolder, threads, progress, ...generation } = options;
  const { signal } = generation;
  const model = await open(folder, { dtype, engine, nativeFolder, threads, progress, signal });
  try {
    return await use(model, generation);
  } finally {
    await model.close();
  }
}
