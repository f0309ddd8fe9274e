/** Fields that the options of several functions have. */
import * as z from 'zod';
import { CACHE_FORMATS, LEAST_ATTENDED } from '../core/cache-format.ts';
import { MOST_THREADS } from '../core/limits.ts';
import { files, type Given, path } from '../core/options.ts';
import { PRECISION_NAMES } from '../core/precision.ts';
import type { JobOptions, Progress } from '../core/progress.ts';
import { ENGINES } from './engine/engine.ts';

export const flag = z.boolean();
export const count = z.int().min(1);
export const precision = z.enum(PRECISION_NAMES);

/** Where the native core is; found by itself when absent. */
export const nativeFolder: z.ZodType<string | URL> = z.union([
  path,
  z.instanceof(URL).refine(({ protocol }) => protocol === 'file:', 'a file URL'),
]);

export const JOB = {
  progress: z.custom<Progress>(
    (given) => ['stage', 'note'].every((name) => typeof Object(given)[name] === 'function'),
    'an object with stage() and note()',
  ),
  signal: z.instanceof(AbortSignal),
  /** Intra-op threads of ONNX Runtime, 1 to 256; its own choice when absent. Results are reproducible at a fixed number. */
  threads: z.int().min(1).max(MOST_THREADS),
} satisfies Record<keyof JobOptions, z.ZodType>;

/** What a host costs to decode on. */
export const COSTS = {
  /** Where `measureHost` keeps the costs of this host. Without it, the package's own are used. */
  cacheFolder: path,
};

/** What runs a model. */
export const ENGINE = {
  /** The native core where it works, by default. */
  engine: z.enum(ENGINES),
  nativeFolder,
};

/** What runs a model that decodes. */
export const DECODER = {
  ...ENGINE,
  /** How the native core keeps keys and values: as the graph has them (fp32), or narrower. */
  cache: z.enum(CACHE_FORMATS),
  /** How many of the tokens before it a token attends to where it is decoded: those that matter most; all by default. */
  attended: z.int().min(LEAST_ATTENDED),
};

/** A folder's model, and what it is compared with on a text. */
export const COMPARED = {
  ...JOB,
  ...DECODER,
  /** The baseline: a folder of the same checkpoint. Without it the folder is measured alone. */
  against: path,
  /** Which of the folder's precisions, and of the baseline's; the first by default. */
  dtype: precision,
  againstDtype: precision,
  /** What runs the baseline; as the other by default. */
  againstEngine: ENGINE.engine,
  /** How the baseline's cache is kept; in fp32 by default. */
  againstCache: DECODER.cache,
  /** How many tokens the baseline's attend to; all by default. */
  againstAttended: DECODER.attended,
  /** UTF-8 files; the pinned `test` text by default. */
  data: files,
};

export interface ComparedOptions extends JobOptions, Given<typeof COMPARED> {}
