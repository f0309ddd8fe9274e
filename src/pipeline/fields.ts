/**
 * Fields that the options of several functions have, as schemas. A function's schema is beside its interface, and does not compile
 * unless it has the interface's fields (`optionsOf`).
 */
import * as z from 'zod';
import type { HubOptions } from '../core/hub.ts';
import { MOST_THREADS } from '../core/limits.ts';
import { optionsOf } from '../core/options.ts';
import { PRECISION_NAMES } from '../core/precision.ts';
import type { Progress } from '../core/progress.ts';
import { ENGINES } from './engine/engine.ts';

export const flag = z.boolean();
export const count = z.int().min(1);
export const engine = z.enum(ENGINES);
export const precision = z.enum(PRECISION_NAMES);

/** What Node's file system refuses with an error of its own. */
export const path = z
  .string()
  .min(1)
  .refine((text) => !text.includes('\0'), 'a path, which holds no NUL');
export const files = z.array(path).min(1);
export const nativeFolder = z.union([
  path,
  z.instanceof(URL).refine(({ protocol }) => protocol === 'file:', 'a file URL'),
]);

/** Of a perplexity over its baseline's. */
export const maxPplRatio = z.number().min(1);

export const progress = z.custom<Progress>(
  (given) => ['stage', 'note'].every((name) => typeof Object(given)[name] === 'function'),
  'an object with stage() and note()',
);
export const signal = z.instanceof(AbortSignal);
export const threads = z.int().min(1).max(MOST_THREADS);

/** Of whatever takes long. */
export const job = { progress, signal, threads };

const hub = optionsOf<HubOptions>(
  { endpoint: z.string().min(1), cacheFolder: path },
  { token: z.string(), retryDelayMs: z.number().min(0), stallMs: z.number().gt(0) },
);

/** Of whatever opens a checkpoint. */
export const source = { ...job, allowNonFinite: flag, hub, adapter: path };

/** Of whatever holds a folder against another. */
export const compared = { against: path, dtype: precision, againstDtype: precision, data: files };

/** Of whatever opens a folder to write texts. */
export const opened = { dtype: precision, engine, nativeFolder, progress, signal, threads };

/** Of whatever writes a text. */
export const generated = {
  maxTokens: z.int().min(0),
  ignoreEos: flag,
  signal,
  temperature: z.number().min(0),
  topK: count,
  topP: z.number().gt(0).max(1),
  minP: z.number().min(0).max(1),
  repetitionPenalty: z.number().gt(0),
  seed: z.int(),
};
