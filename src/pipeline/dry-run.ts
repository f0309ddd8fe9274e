/** `lacuna convert --dry-run`: what a conversion would write and cost, and everything that is wrong. */
import { statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { inputGrams } from '../../calibrate/index.ts';
import { modelProblems } from '../../converters/index.ts';
import { refuseExistingFolder } from '../../formats/files.ts';
import { mergeAdapter } from '../../formats/lora/index.ts';
import { estimatePace } from '../../formats/onnx/index.ts';
import { readStatistics } from '../../formats/statistics.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { type Checkpoint, hasTokenizer, parametersOf } from '../core/checkpoint.ts';
import { LacunaError } from '../core/errors.ts';
import type { ModelSpec } from '../core/model.ts';
import { door } from '../core/options.ts';
import type { Precision } from '../core/precision.ts';
import { attempt, attemptAsync } from '../core/problems.ts';
import { layerSumsOf } from '../core/statistics.ts';
import { calibrationInput } from './calibrate.ts';
import {
  type ConvertOptions,
  contentOf,
  convertOptions,
  notesOn,
  type OpenedModel,
  openModels,
  precisionsFor,
  tokenizerNotes,
} from './convert.ts';
import { type PlannedFile, planModelFolder } from './folder/model-folder.ts';
import { checkWritable, presentFolder } from './folder/output.ts';
import { checkpointPath, openReadable } from './folder/source.ts';
import { type MeasuredImportance, ROUNDING_TOKENS, readImportance } from './rounding/importance.ts';
import { ROUNDING } from './texts/texts.ts';
import { referenceFor } from './verification/reference.ts';

export type Problem = Readonly<Pick<LacunaError, 'code' | 'message' | 'hint'>>;

export function problemOf({ code, message, hint }: LacunaError): Problem {
  return { code, message, hint };
}

export interface DryRunEstimate {
  /** Time for reading and converting. A slower disk makes it longer. */
  readonly seconds: number;
  /** Bytes that were converted on this machine to estimate the time, without being written. */
  readonly measuredBytes: number;
  /** Threads that convert. The disk does the rest of the work. */
  readonly threads: number;
  /** From the figures in docs/verification.md. */
  readonly peakMemoryBytes: number;
  /** Memory of Transformers while it computes the reference, if that was asked for. */
  readonly referenceMemoryBytes: number | undefined;
}

/**
 * The most memory that converting takes beside the largest small file: this program, and for each thread what the
 * storage of layers needs (blocks that are read and made, strips of a transposed matrix, scales that are kept).
 */
const BASE_BYTES = 110e6;
const THREAD_BYTES = { float: 25e6, widened: 25e6, transposed: 90e6, blocks: 80e6 } as const;

/** The memory of Transformers beside float32 weights: PyTorch, activations and one or two tensors being widened. */
const TRANSFORMERS_BYTES = 800e6;

export interface DryRunResult {
  readonly output: string;
  /** Undefined if the config cannot be read. */
  readonly spec: ModelSpec | undefined;
  readonly precisions: readonly string[];
  /** Undefined if a problem prevents laying out the model; likewise `estimate`. */
  readonly files: readonly PlannedFile[] | undefined;
  readonly totalBytes: number | undefined;
  readonly estimate: DryRunEstimate | undefined;
  /** Free space of the output's file system; undefined if unknown. */
  readonly freeBytes: number | undefined;
  /** Problems at which `convert` would stop. */
  readonly problems: readonly Problem[];
  /** What it would do all the same, and what only reading the weights shows. */
  readonly notes: readonly string[];
}

/**
 * Checks everything that `convert` with the same options would need, and writes nothing. (A model named on the Hub is
 * downloaded.)
 *
 * @example const { problems } = await dryRun({ checkpoint: './SmolLM2-135M', output: './dense' });
 */
export const dryRun = door('dryRun', convertOptions, async (options: ConvertOptions): Promise<DryRunResult> => {
  const problems: LacunaError[] = [];
  const precisions = await attemptAsync(problems, async () => precisionsFor(options));
  const { output, force = false } = options;
  await attemptAsync(problems, () => refuseExistingFolder(output, { force }));
  await attemptAsync(problems, () => checkWritable(dirname(resolve(output))));
  const survey = await surveyCheckpoint(problems, options);
  const models = survey && (await openWhatFits(problems, survey, precisions, options));
  const plan = models && (await planWriting(models, survey, options));
  const freeBytes = await freeBytesAt(output);
  const lack = plan && lackOfSpace('The folder', output, plan.totalBytes, freeBytes, 'choose a smaller --dtype');
  if (lack !== undefined) problems.push(lack);
  if (survey !== undefined && options.verify !== undefined)
    await attemptAsync(problems, () => referenceFor(survey.checkpoint, { ...options, ...options.verify }));
  return {
    output,
    spec: models?.[0].pieces.spec,
    precisions: (precisions ?? []).map(({ name }) => name),
    files: plan?.files,
    totalBytes: plan?.totalBytes,
    estimate: plan?.estimate,
    freeBytes,
    problems: problems.map(problemOf),
    notes: survey === undefined ? [] : await notesFor(survey, models, options),
  };
});

type Survey = Awaited<ReturnType<typeof openReadable>>;

/** Opens the checkpoint as far as it can be read. Merges the adapter if all weights can be read. */
async function surveyCheckpoint(problems: LacunaError[], options: ConvertOptions): Promise<Survey | undefined> {
  const survey = await attemptAsync(problems, async () =>
    openReadable(await checkpointPath(options.checkpoint, options), problems, options),
  );
  const { adapter } = options;
  if (survey === undefined || adapter === undefined || survey.unread !== undefined) return survey;
  const merged = await attemptAsync(problems, () => mergeAdapter(survey.checkpoint, adapter, options));
  return { ...survey, checkpoint: merged ?? survey.checkpoint };
}

/** The models, unless something is wrong with them. */
async function openWhatFits(
  problems: LacunaError[],
  { checkpoint, unread }: Survey,
  precisions: readonly Precision[] | undefined,
  options: ConvertOptions,
): Promise<readonly OpenedModel[] | undefined> {
  const found = [...modelProblems(checkpoint, unread)];
  const importance = await attemptAsync(found, () => openImportance({ checkpoint, unread }, options));
  const fits = found.length === 0 && unread === undefined && precisions !== undefined;
  const models = fits ? attempt(found, () => openModels(checkpoint, precisions, importance)) : undefined;
  problems.push(...found);
  return models;
}

/** Importances from statistics. For texts to measure them on, only whether they can be read and are long enough. */
async function openImportance(
  { checkpoint, unread }: Survey,
  { importance: path, data, tokens = ROUNDING_TOKENS, rounding }: ConvertOptions,
): Promise<MeasuredImportance | undefined> {
  if (path === undefined) {
    if (data !== undefined) await calibrationInput(checkpoint, ROUNDING, { data, tokens });
    return undefined;
  }
  if (rounding === 'gptq') layerSumsOf(await readStatistics(path), inputGrams.name, [inputGrams.name]);
  if (unread === undefined) return readImportance(checkpoint, path);
  // Without all weights it is unknown whether the statistics belong to this checkpoint.
  await readStatistics(path);
  return undefined;
}

/** Files and times. An output that is replaced stays until the end, so the whole space is needed. */
async function planWriting(models: readonly OpenedModel[], { checkpoint }: Survey, options: ConvertOptions) {
  const files = [...(await planModelFolder(contentOf(checkpoint, models)))].sort((a, b) => (a.path < b.path ? -1 : 1));
  let [seconds, measuredBytes, threads] = [0, 0, 1];
  for (const { graph } of models) {
    const pace = await estimatePace(graph, options);
    seconds += pace.seconds;
    measuredBytes += pace.measuredBytes;
    threads = Math.max(threads, pace.threads);
  }
  const totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
  // Precisions are written one after the other.
  const threadBytes = Math.max(...models.map(({ precision }) => THREAD_BYTES[precision.linear.kind]));
  // All files except the weights are in memory once, one after the other.
  const inMemory = files.filter(({ path }) => !path.endsWith('.onnx_data'));
  const estimate: DryRunEstimate = {
    seconds,
    measuredBytes,
    threads,
    peakMemoryBytes: BASE_BYTES + threads * threadBytes + Math.max(0, ...inMemory.map(({ bytes }) => bytes)),
    referenceMemoryBytes: options.verify && TRANSFORMERS_BYTES + 4 * parametersOf(checkpoint),
  };
  return { files, totalBytes, estimate };
}

/** What a checkpoint takes as a dense folder of a precision, every file of it. */
export async function denseFolderBytes(checkpoint: Checkpoint, stored: Precision): Promise<number> {
  const files = await planModelFolder(contentOf(checkpoint, openModels(checkpoint, [stored], undefined)));
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** The error where bytes do not fit into what is free at a path; `or` is a way out beside more space. */
export function lackOfSpace(
  what: string,
  at: string,
  bytes: number,
  freeBytes: number | undefined,
  or: string,
): LacunaError | undefined {
  if (freeBytes === undefined || bytes <= freeBytes) return undefined;
  return new LacunaError('io', `${what} will take ${bytes} bytes, and ${freeBytes} are free at ${at}`, {
    hint: `Free space, write to another disk, or ${or}.`,
  });
}

/** The file system of an existing or future path; undefined if unknown. */
export async function freeBytesAt(output: string): Promise<number | undefined> {
  const folder = await presentFolder(dirname(resolve(output)));
  return statfs(folder).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => undefined,
  );
}

async function notesFor(
  { checkpoint, unread }: Survey,
  models: readonly OpenedModel[] | undefined,
  options: ConvertOptions,
): Promise<string[]> {
  const notes = models === undefined ? tokenizerNotes(checkpoint) : notesOn(checkpoint, models);
  const halves = (models ?? []).some(({ precision }) => precision.floats === 'float16');
  return [
    ...notes,
    ...(await templateNotes(checkpoint)),
    ...(unread !== undefined && options.adapter !== undefined ? [ADAPTER_NOT_CHECKED] : []),
    ...(options.allowNonFinite ? [] : ['A weight that is NaN or infinite is refused when it is read.']),
    ...(options.data === undefined ? [] : [MEASURING]),
    ...(halves ? ['A weight beyond 65,504, the largest float16 number, is refused when it is read.'] : []),
  ];
}

const ADAPTER_NOT_CHECKED = 'The adapter was not compared with the weights, because not all of them could be read.';

const MEASURING =
  'Rounding by the texts comes on top: it runs the whole model over them, and README.md and lacuna.json name them.';

async function templateNotes(checkpoint: Checkpoint): Promise<string[]> {
  if (!hasTokenizer(checkpoint)) return [];
  const failed: LacunaError[] = [];
  const tokenizer = await attemptAsync(failed, () => loadTokenizer(checkpoint));
  if (tokenizer === undefined) return [`The tokenizer is copied, but cannot be used: ${failed[0].message}`];
  return tokenizer.hasChatTemplate ? [] : ['There is no chat template: `lacuna run --chat` will not work.'];
}
