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
import { withSpill } from '../../formats/spill.ts';
import { readStatistics, readSums, writeStatistics } from '../../formats/statistics.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import type { Checkpoint } from '../core/checkpoint.ts';
import { optionsOf } from '../core/options.ts';
import type { JobOptions } from '../core/progress.ts';
import type { Statistics } from '../core/statistics.ts';
import { createOpenGraph } from '../runtime/index.ts';
import { readFloats } from '../tensors/index.ts';
import { door } from './door.ts';
import * as field from './fields.ts';
import { checkJsonOutput, type OutputOptions, writeJsonOutput } from './folder/output.ts';
import { type OpenedCheckpoint, openPieces, type SourceOptions } from './folder/source.ts';
import { checkTokens, STATISTICS as WANTED, type Wanted } from './texts/enough-tokens.ts';
import { encodeTexts, pinnedTexts } from './texts/texts.ts';

export type { StatisticsSummary };

/** What is measured on. */
export interface MeasureOptions extends JobOptions {
  /** Texts, UTF-8 or JSONL. Default: the pinned `fit` text. */
  readonly data?: readonly string[];
  /** The most tokens to measure, over all shards. */
  readonly tokens?: number;
  readonly sequenceLength?: number;
  /** Measures every `count`-th sequence, starting with the `index`-th (0-based). */
  readonly shard?: { readonly index: number; readonly count: number };
}

export interface CalibrateOptions extends SourceOptions, MeasureOptions {
  /** As for `convert`. */
  readonly checkpoint: string;
  /** JSON file to write. Its tensors go beside it. */
  readonly output: string;
  /** Further statistics to measure, of `FURTHER_STATISTICS`. */
  readonly with?: readonly string[];
  readonly force?: boolean;
}

/** Names of the statistics that are measured only on request. */
export const FURTHER_STATISTICS = STATISTICS.filter(({ byLayer }) => byLayer).map(({ name }) => name);

const shard = z
  .strictObject({ index: z.int().min(0), count: field.count })
  .refine((given) => given.index < given.count, 'an index below its count');

export const calibrateOptions = optionsOf<CalibrateOptions>(
  { checkpoint: field.path, output: field.path },
  {
    ...field.source,
    force: field.flag,
    data: field.files,
    tokens: field.count,
    sequenceLength: field.count,
    shard,
    with: z.array(z.enum(FURTHER_STATISTICS)),
  },
);

export interface CalibrateResult {
  readonly output: string;
  readonly tokens: number;
  readonly summary: StatisticsSummary;
}

/**
 * Measures FFN saturation, gate statistics and neuron magnitudes layer by layer. Only one layer's weights are in
 * memory.
 *
 * @example await calibrate({ checkpoint: './SmolLM2-135M', output: './statistics.json' });
 */
export const calibrate = door('calibrate', calibrateOptions, calibrateCheckpoint);

/** The same with options that are checked. */
export async function calibrateCheckpoint(options: CalibrateOptions): Promise<CalibrateResult> {
  await checkJsonOutput(options);
  const opened = await openPieces(options.checkpoint, options);
  const { with: further = [], output } = options;
  const statistics = STATISTICS.filter((one) => USUAL_STATISTICS.includes(one) || further.includes(one.name));
  return withSpill(output, async (keep) =>
    saveStatistics(await measureOn(opened, options, { statistics, keeper: { keep } }), options),
  );
}

/** What is measured, and who takes the sums of single layers. */
export type Measuring = Pick<CalibrationOptions, 'statistics' | 'keeper'>;

/** The sums of `statistics`, or of all usual statistics, over the texts. */
export async function measureOn(
  opened: OpenedCheckpoint,
  options: MeasureOptions,
  measuring: Measuring = {},
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
  const openGraph = createOpenGraph({ encode: encodeModel, threads });
  const { fingerprint } = checkpoint;
  return measure(pieces, input, { openGraph, readFloats, fingerprint, progress, signal, ...measuring });
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
  checkTokens(wanted, held <= maxTokens ? held : inWholeSequences(maxTokens, sequenceLength), progress);
  return {
    texts,
    sequenceLength,
    maxTokens,
    shard,
    bosTokenId: tokenizer.bosTokenId,
  };
}

/** If a text is longer than needed, whole sequences are taken from it. */
function inWholeSequences(tokens: number, sequenceLength = DEFAULT_SEQUENCE_LENGTH): number {
  const length = Math.min(sequenceLength, tokens);
  return Math.floor(tokens / length) * length;
}

export interface MergeOptions {
  readonly inputs: readonly string[];
  readonly output: string;
  readonly force?: boolean;
}

export const mergeOptions = optionsOf<MergeOptions>({ inputs: field.files, output: field.path }, { force: field.flag });

/** Adds up the statistics of shards; the order does not matter. */
export const mergeCalibrations = door(
  'mergeCalibrations',
  mergeOptions,
  async (options: MergeOptions): Promise<CalibrateResult> => {
    await checkJsonOutput(options);
    const parts = await Promise.all(options.inputs.map(readStatistics));
    return withSpill(options.output, async (keep) =>
      saveStatistics(await mergeStatistics(parts, { readSums, keep }), options),
    );
  },
);

/** Writes statistics with their summary. */
export async function saveStatistics(
  statistics: Statistics,
  { output, force }: OutputOptions,
): Promise<CalibrateResult> {
  const summary = summarise(statistics);
  await writeJsonOutput({ output, force }, () => writeStatistics(statistics, output, summary));
  return { output, tokens: statistics.tokens, summary };
}
