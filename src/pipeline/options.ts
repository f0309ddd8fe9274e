/**
 * The options of every public function, as schemas. The compiler checks each schema against its interface.
 * `checkArgument` checks the given options against the schema before anything is done.
 */
import * as z from 'zod';
import type { HubOptions } from '../core/hub.ts';
import { MOST_THREADS } from '../core/limits.ts';
import type { ModelSpec } from '../core/model.ts';
import { optionsOf } from '../core/options.ts';
import { BLOCK_SIZES, PRECISION_NAMES, ROUNDINGS, VOCABULARY_NAMES } from '../core/precision.ts';
import type { Progress } from '../core/progress.ts';
import { COMPARE_MODES } from '../eval/index.ts';
import { planOptionsSchema } from '../plan/index.ts';
import type { BenchOptions } from './bench.ts';
import type { BuildOptions, BuildTexts } from './build.ts';
import { type CalibrateOptions, FURTHER_STATISTICS, type MergeOptions } from './calibrate.ts';
import type { ConvertOptions } from './convert.ts';
import type { DoctorOptions } from './doctor.ts';
import { ENGINES } from './engine/engine.ts';
import type { EvaluateOptions } from './evaluate.ts';
import type { InspectOptions } from './inspect.ts';
import type { ChatMessage, GenerationOptions, OpenOptions } from './open.ts';
import type { OpsInstallOptions, OpsPathOptions } from './ops.ts';
import type { PlanCommandOptions } from './plan.ts';
import type { RunOptions, RunRowsOptions } from './run.ts';
import { SPARSE_PRECISIONS, type SparsifyOptions } from './sparsify.ts';
import type { ReferenceOptions } from './verification/reference.ts';
import type { ExpectOptions, VerifyOptions } from './verify.ts';

const flag = z.boolean();
const count = z.int().min(1);
const index = z.int().min(0);
const engine = z.enum(ENGINES);
const precision = z.enum(PRECISION_NAMES);
const sparsePrecision = z.enum(SPARSE_PRECISIONS);

/** Node's file system refuses this with an error of its own. */
export const path = z
  .string()
  .min(1)
  .refine((text) => !text.includes('\0'), 'a path, which holds no NUL');
const files = z.array(path).min(1);
const nativeFolder = z.union([path, z.instanceof(URL).refine(({ protocol }) => protocol === 'file:', 'a file URL')]);

const progress = z.custom<Progress>(
  (given) => ['stage', 'note'].every((name) => typeof Object(given)[name] === 'function'),
  'an object with stage() and note()',
);
const signal = z.instanceof(AbortSignal);
const threads = z.int().min(1).max(MOST_THREADS);
const job = { progress, signal, threads };

const hub = optionsOf<HubOptions>(
  { endpoint: z.string().min(1), cacheFolder: path },
  { token: z.string(), retryDelayMs: z.number().min(0), stallMs: z.number().gt(0) },
);
const source = { ...job, allowNonFinite: flag, hub, adapter: path };

const reference = optionsOf<ReferenceOptions>({}, { python: path, expectations: path });

export const convertOptions = optionsOf<ConvertOptions>(
  { checkpoint: path, output: path },
  {
    ...source,
    force: flag,
    dtype: z.union([precision, z.array(precision).min(1)]),
    blockSize: z.literal(BLOCK_SIZES),
    asymmetric: flag,
    vocabulary: z.enum(VOCABULARY_NAMES),
    importance: path,
    data: files,
    rounding: z.enum(ROUNDINGS),
    tokens: count,
    verify: reference,
  },
);

const shard = z.strictObject({ index, count }).refine((given) => given.index < given.count, 'an index below its count');

export const calibrateOptions = optionsOf<CalibrateOptions>(
  { checkpoint: path, output: path },
  {
    ...source,
    force: flag,
    data: files,
    tokens: count,
    sequenceLength: count,
    shard,
    with: z.array(z.enum(FURTHER_STATISTICS)),
  },
);

export const mergeOptions = optionsOf<MergeOptions>({ inputs: files, output: path }, { force: flag });

export const planOptions = optionsOf<PlanCommandOptions>(
  { statistics: path, output: path, preset: planOptionsSchema },
  { force: flag },
);

export const sparsifyOptions = optionsOf<SparsifyOptions>(
  { source: path, plan: path, output: path },
  { ...source, force: flag, dtype: sparsePrecision, data: files, tokens: count },
);

/** A limit for the ratio of perplexities. */
const maxPplRatio = z.number().min(1);

export const buildOptions = optionsOf<BuildOptions>(
  { checkpoint: path, output: path, preset: planOptionsSchema },
  {
    ...source,
    texts: optionsOf<Partial<BuildTexts>>({}, { fit: files, choose: files, test: files }),
    tokens: count,
    maxPplRatio,
    allowSlower: flag,
    force: flag,
    dtype: sparsePrecision,
    nativeFolder,
  },
);

/** A folder, and what it is compared with. */
const compared = { against: path, dtype: precision, againstDtype: precision, data: files };

export const evaluateOptions = optionsOf<EvaluateOptions>(
  { folder: path },
  {
    ...job,
    ...compared,
    engine,
    againstEngine: engine,
    nativeFolder,
    tokens: count,
    window: z.int().min(4),
    modes: z.array(z.enum(COMPARE_MODES)).min(1),
    maxPplRatio,
  },
);

export const benchOptions = optionsOf<BenchOptions>(
  { folder: path },
  {
    ...job,
    ...compared,
    engine,
    againstEngine: engine,
    nativeFolder,
    promptTokens: count,
    repeats: count,
    rounds: count,
    stepsPerBlock: count,
    peers: optionsOf<NonNullable<BenchOptions['peers']>>({}, { python: path, gguf: path }),
  },
);

const opened = { dtype: precision, engine, nativeFolder, progress, signal, threads };

const generated = {
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

export const openOptions = optionsOf<OpenOptions>({}, opened);
export const generationOptions = optionsOf<GenerationOptions>({}, generated);

export const promptSchema = z.union([
  z.string(),
  z.array(optionsOf<ChatMessage>({ role: z.string().min(1), content: z.string() }, {})).min(1),
]);

export function tokenIds({ vocabSize }: ModelSpec) {
  return z.array(z.int().min(0).lt(vocabSize));
}

const ran = { ...opened, ...generated, chat: flag };

export const runOptions = optionsOf<RunOptions>(
  { folder: path, prompt: z.string() },
  { ...ran, onText: z.custom<(text: string) => void>((given) => typeof given === 'function', 'a function') },
);

export const runRowsOptions = optionsOf<RunRowsOptions>({ folder: path, prompts: z.array(z.string()).min(1) }, ran);

export const inspectOptions = optionsOf<InspectOptions>({}, { ...source, dtype: precision });

export const verifyOptions = optionsOf<VerifyOptions>(
  { folder: path, checkpoint: path },
  { ...source, python: path, expectations: path },
);

export const expectOptions = optionsOf<ExpectOptions>(
  { checkpoint: path },
  { ...source, python: path, output: path, force: flag },
);

export const doctorOptions = optionsOf<DoctorOptions>({}, { nativeFolder });
export const opsPathOptions = optionsOf<OpsPathOptions>({}, { nativeFolder });
export const opsInstallOptions = optionsOf<OpsInstallOptions>({ folder: path }, { nativeFolder, undo: flag });
