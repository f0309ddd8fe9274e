/** `lacuna run`: a prompt goes in, text streams out; several go in, and are continued together. */
import * as z from 'zod';
import { optionsOf } from '../core/options.ts';
import { door } from './door.ts';
import type { Engine } from './engine/engine.ts';
import * as field from './fields.ts';
import {
  type Generation,
  type GenerationOptions,
  type Generations,
  type Model,
  type OpenOptions,
  openFolder,
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

const ran = { ...field.opened, ...field.generated, chat: field.flag };

export const runOptions = optionsOf<RunOptions>(
  { folder: field.path, prompt: z.string() },
  { ...ran, onText: z.custom<(text: string) => void>((given) => typeof given === 'function', 'a function') },
);

export const runRowsOptions = optionsOf<RunRowsOptions>(
  { folder: field.path, prompts: z.array(z.string()).min(1) },
  ran,
);

export interface RunRowsResult extends Generations {
  readonly engine: Engine;
}

/**
 * Generates one text with a converted folder. It opens the folder for this text and closes it again; `open` keeps it
 * open.
 *
 * @example const { text } = await run({ folder: 'out/dense', prompt: 'In the beginning' });
 */
export const run = door('run', runOptions, async ({ prompt, onText, ...options }: RunOptions): Promise<RunResult> => {
  return withModel(options, async (model, generation) => {
    const stream = model.stream(promptOf(prompt, options), generation);
    let next = await stream.next();
    for (; !next.done; next = await stream.next()) onText?.(next.value);
    return { engine: model.engine, ...next.value };
  });
});

/** Continues several prompts: by the native core together, which reads the weights once for all of them. */
export const runRows = door(
  'runRows',
  runRowsOptions,
  async ({ prompts, ...options }: RunRowsOptions): Promise<RunRowsResult> => {
    return withModel(options, async (model, generation) => {
      const wanted = prompts.map((prompt) => promptOf(prompt, options));
      return { engine: model.engine, ...(await model.generateAll(wanted, generation)) };
    });
  },
);

function promptOf(prompt: string, { chat }: Pick<RunOptions, 'chat'>): Prompt {
  return chat ? [{ role: 'user', content: prompt }] : prompt;
}

async function withModel<T>(
  options: Omit<RunRowsOptions, 'prompts'>,
  use: (model: Model, generation: GenerationOptions) => Promise<T>,
): Promise<T> {
  const { folder, chat: _, dtype, engine, nativeFolder, threads, progress, ...generation } = options;
  const { signal } = generation;
  const model = await openFolder(folder, { dtype, engine, nativeFolder, threads, progress, signal });
  try {
    return await use(model, generation);
  } finally {
    await model.close();
  }
}
