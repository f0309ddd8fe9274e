/** `lacuna run`: a prompt goes in, text streams out; several go in, and are continued together. */
import * as z from 'zod';
import { door, listOf, optionsOf, path } from '../core/options.ts';
import {
  GENERATED,
  type Generation,
  type GenerationOptions,
  type Generations,
  type Model,
  OPENED,
  type OpenOptions,
  open,
  type Prompt,
  resultOf,
} from './open.ts';
import { flag } from './options.ts';

const RUN = {
  ...OPENED,
  ...GENERATED,
  /** Puts the prompt into the model's chat template as the user's message. */
  chat: flag,
};

export const runOptions = optionsOf(
  { folder: path, prompt: z.string() },
  {
    ...RUN,
    /** Called with each piece of text as it is known. */
    onText: z.custom<(text: string) => void>((given) => typeof given === 'function', 'a function'),
  },
);

export interface RunOptions extends OpenOptions, GenerationOptions, z.infer<typeof runOptions> {}

export const runRowsOptions = optionsOf({ folder: path, prompts: listOf(z.string()) }, RUN);

export interface RunRowsOptions extends OpenOptions, GenerationOptions, z.infer<typeof runRowsOptions> {}

export interface RunResult extends Generation, Pick<Model, 'engine'> {}

export interface RunRowsResult extends Generations, Pick<Model, 'engine'> {}

/**
 * Generates one text with a folder, which is opened for it and closed again: `open` keeps it.
 *
 * @example const { text } = await run({ folder: './sparse', prompt: 'The capital of France is' });
 */
export const run = door(
  'run',
  runOptions,
  async ({ prompt, onText, ...options }: RunOptions): Promise<RunResult> =>
    withModel(options, async (model, generation) => {
      const stream = model.stream(promptOf(prompt, options), generation);
      return { engine: model.engine, ...(await resultOf(stream, onText)) };
    }),
);

/** Continues several prompts: by the native core together, which reads the weights once for all of them. */
export const runRows = door(
  'runRows',
  runRowsOptions,
  async ({ prompts, ...options }: RunRowsOptions): Promise<RunRowsResult> =>
    withModel(options, async (model, generation) => {
      const wanted = prompts.map((prompt) => promptOf(prompt, options));
      return { engine: model.engine, ...(await model.generateAll(wanted, generation)) };
    }),
);

function promptOf(prompt: string, { chat }: Pick<RunOptions, 'chat'>): Prompt {
  return chat ? [{ role: 'user', content: prompt }] : prompt;
}

async function withModel<T>(
  options: Omit<RunRowsOptions, 'prompts'>,
  use: (model: Model, generation: GenerationOptions) => Promise<T>,
): Promise<T> {
  const { folder, chat: _, dtype, engine, cache, attended, nativeFolder, ...rest } = options;
  const { threads, progress, ...generation } = rest;
  const { signal } = generation;
  const model = await open(folder, { dtype, engine, cache, attended, nativeFolder, threads, progress, signal });
  return use(model, generation).finally(() => model.close());
}
