/** `lacuna calibrate` and `lacuna calibrate merge`: a checkpoint and texts become statistics. */
import * as z from 'zod';
import {
  type CalibrationInput,
  type CalibrationOptions,
  DEFAULT_SEQUENCE_LENGTH,
  calibrate as measure,
  mergeStatistics,
  STATISTICS,
  type StatisticsSummary,
  summarise,
  USUAL_STATISTICS,
} from '../../calibrate/index.ts';
import { encodeModel } from '../../formats/onnx/index.ts';
import { type Spill, withSpill } from '../../formats/spill.ts';
import { openStatistics, readSums, writeStatistics } from '../../formats/statistics.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import type { Checkpoint } from '../core/checkpoint.ts';
import { door, files, type Given, listOf, optionsOf, path } from '../core/options.ts';
import type { JobOptions } from '../core/progress.ts';
import type { Statistics } from '../core/statistics.ts';
import { createOpenGraph } from '../runtime/index.ts';
import { readFloats } from '../tensors/index.ts';
import { checkJsonOutput, type OutputOptions, writeJsonOutput } from './folder/output.ts';
import { type OpenedCheckpoint, openPieces, SOURCE, type SourceOptions } from './folder/source.ts';
import { count, flag, JOB } from './options.ts';
import { checkTokens, encodeTexts, pinnedTexts, STATISTICS as WANTED, type Wanted } from './texts/texts.ts';

export type { StatisticsSummary };

/** What is measured on. */
const MEASURED = {
  ...JOB,
  /** Texts, UTF-8 or JSONL; the pinned `fit` text by default. */
  data: files,
  /** Tokens to measure at most, over all shards. */
  tokens: count,
  sequenceLength: count,
  /** Measures every `count`-th sequence from the `index`-th (0-based) on. */
  shard: z
    .strictObject({ index: z.int().min(0), count })
    .refine((given) => given.index < given.count, 'an index below its count'),
};

export interface MeasureOptions extends JobOptions, Given<typeof MEASURED> {}

/** Names of the statistics that are measured only on request. */
export const FURTHER_STATISTICS = STATISTICS.filter(({ onRequest }) => onRequest).map(({ name }) => name);

export const calibrateOptions = optionsOf(
  {
    /** As for `convert`. */
    checkpoint: path,
    /** JSON file to make; its tensors go beside it. */
    output: path,
  },
  {
    ...SOURCE,
    ...MEASURED,
    /** Statistics that are measured besides, of `FURTHER_STATISTICS`. */
    with: listOf(z.enum(FURTHER_STATISTICS), 0),
    force: flag,
  },
);

export interface CalibrateOptions extends SourceOptions, MeasureOptions, z.infer<typeof calibrateOptions> {}

export interface CalibrateResult {
  readonly output: string;
  readonly tokens: number;
  readonly summary: StatisticsSummary;
}

/**
 * Measures FFN saturation, gate statistics and neuron magnitudes of a checkpoint layer by layer: one layer's weights are in memory.
 *
 * @example await calibrate({ checkpoint: './SmolLM2-135M', output: './statistics.json' });
 */
export const calibrate = door('calibrate', calibrateOptions, calibrateChecked);

/** The same by options that were checked. */
export async function calibrateChecked(options: CalibrateOptions): Promise<CalibrateResult> {
  await checkJsonOutput(options);
  const opened = await openPieces(options.checkpoint, options);
  const { with: further = [] } = options;
  const statistics = STATISTICS.filter((one) => USUAL_STATISTICS.includes(one) || further.includes(one.name));
  return saveStatistics(options, (keep) => measureOn(opened, options, { statistics, keeper: { keep } }));
}

/** What is measured, and who takes the sums of single layers. */
export type Measuring = Pick<CalibrationOptions, 'statistics' | 'keeper'>;

/** The sums of `statistics`, or of all usual statistics, over the texts. */
export async function measureOn(
  opened: OpenedCheckpoint,
  options: MeasureOptions,
  measuring: Measuring,
): Promise<Statistics> {
  return measureInput(opened, await calibrationInput(opened.checkpoint, WANTED, options), options, measuring);
}

/** The same for texts that are already encoded. */
export function measureInput(
  { checkpoint, pieces }: OpenedCheckpoint,
  input: CalibrationInput,
  { signal, progress, threads }: JobOptions,
  measuring: Measuring,
): Promise<Statistics> {
  // The statistics have threads of their own, which wait for a core.
  const openGraph = createOpenGraph({ encode: encodeModel, threads, spin: false });
  const { fingerprint } = checkpoint;
  return measure(pieces, input, { openGraph, readFloats, fingerprint, progress, signal, threads, ...measuring });
}

/** The texts as tokens of the checkpoint's tokenizer, and the sequences to measure. Too few tokens are refused. */
export async function calibrationInput(
  checkpoint: Checkpoint,
  wanted: Wanted,
  options: MeasureOptions,
): Promise<CalibrationInput> {
  const tokenizer = await loadTokenizer(checkpoint);
  const texts = await encodeTexts(options.data ?? pinnedTexts('fit'), tokenizer);
  const { tokens: maxTokens = Number.POSITIVE_INFINITY, sequenceLength, shard, progress } = options;
  const held = texts.reduce((sum, { tokens }) => sum + tokens.length, 0);
  // If a text is longer than needed, whole sequences are taken from it.
  const length = Math.min(sequenceLength ?? DEFAULT_SEQUENCE_LENGTH, maxTokens);
  checkTokens(wanted, held <= maxTokens ? held : Math.floor(maxTokens / length) * length, progress);
  return { texts, sequenceLength, maxTokens, shard, bosTokenId: tokenizer.bosTokenId };
}

export const mergeOptions = optionsOf({ inputs: files, output: path }, { force: flag });

export interface MergeOptions extends z.infer<typeof mergeOptions> {}

/** Adds up the statistics of shards; the order does not matter. */
export const mergeCalibrations = door('mergeCalibrations', mergeOptions, async (options: MergeOptions) => {
  await checkJsonOutput(options);
  const parts = await Promise.all(options.inputs.map(openStatistics));
  return saveStatistics(options, (keep) => mergeStatistics(parts, { readSums, keep }));
});

/** Writes what `measure` makes, with a summary. Sums of layers may be spilled until then. */
export function saveStatistics(
  { output, force }: OutputOptions,
  measure: (spill: Spill) => Promise<Statistics>,
): Promise<CalibrateResult> {
  return withSpill(output, async (spill) => {
    const statistics = await measure(spill);
    const summary = await summarise(statistics, readSums);
    await writeJsonOutput({ output, force }, () => writeStatistics(statistics, output, summary));
    return { output, tokens: statistics.tokens, summary };
  });
}
