/** `lacuna calibrate` and `lacuna calibrate merge`: a checkpoint and texts become statistics. */
import {
  type CalibrationInput,
  DEFAULT_SEQUENCE_LENGTH,
  calibrate as measure,
  mergeStatistics,
  type Statistic,
  type StatisticsSummary,
  summarise,
} from '../../calibrate/index.ts';
import { encodeModel } from '../../formats/onnx/index.ts';
import { readStatistics, writeStatistics } from '../../formats/statistics.ts';
import { readFloats } from '../../formats/tensor/index.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import type { Checkpoint } from '../core/checkpoint.ts';
import type { JobOptions } from '../core/progress.ts';
import type { Statistics } from '../core/statistics.ts';
import { createOpenGraph } from '../runtime/index.ts';
import { checkTokens, STATISTICS, type Wanted } from './enough-tokens.ts';
import { checkJsonOutput, type OutputOptions, writeJsonOutput } from './output.ts';
import { type OpenedCheckpoint, openPieces, type SourceOptions } from './source.ts';
import { encodeTexts, pinnedTexts } from './texts.ts';

export type { StatisticsSummary };

/** What is measured on. */
export interface MeasureOptions extends JobOptions {
  /** Texts, UTF-8 or JSONL; the pinned `fit` text by default. */
  readonly data?: readonly string[];
  /** Tokens to measure at most, over all shards. */
  readonly tokens?: number;
  readonly sequenceLength?: number;
  /** Measures every `count`-th sequence from the `index`-th (0-based) on. */
  readonly shard?: { readonly index: number; readonly count: number };
}

export interface CalibrateOptions extends SourceOptions, MeasureOptions {
  /** As for `convert`. */
  readonly checkpoint: string;
  /** JSON file to make; its tensors go beside it. */
  readonly output: string;
  readonly force?: boolean;
}

export interface CalibrateResult {
  readonly output: string;
  readonly tokens: number;
  readonly summary: StatisticsSummary;
}

/**
 * Measures FFN saturation, gate statistics and neuron magnitudes layer by layer: one layer's weights are in memory.
 *
 * @example await calibrate({ checkpoint: 'fixtures/tiny-llama', output: 's.json' });
 */
export async function calibrate(options: CalibrateOptions): Promise<CalibrateResult> {
  await checkJsonOutput(options);
  const opened = await openPieces(options.checkpoint, options);
  return save(await measureOn(opened, options), options);
}

/** The sums of `statistics`, or of all that there are, over the texts. */
export async function measureOn(
  { checkpoint, pieces }: OpenedCheckpoint,
  options: MeasureOptions,
  statistics?: readonly Statistic[],
): Promise<Statistics> {
  const { signal, progress, threads } = options;
  return measure(pieces, await calibrationInput(checkpoint, STATISTICS, options), {
    openGraph: createOpenGraph({ encode: encodeModel, threads }),
    readFloats,
    fingerprint: checkpoint.fingerprint,
    statistics,
    progress,
    signal,
  });
}

/** The texts as tokens of the checkpoint's tokenizer, and which of them are measured; too few are refused. */
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

/** Of a longer text whole sequences are taken. */
function inWholeSequences(tokens: number, sequenceLength = DEFAULT_SEQUENCE_LENGTH): number {
  const length = Math.min(sequenceLength, tokens);
  return Math.floor(tokens / length) * length;
}

export interface MergeOptions {
  readonly inputs: readonly string[];
  readonly output: string;
  readonly force?: boolean;
}

/** Adds up the statistics of shards; the order does not matter. */
export async function mergeCalibrations(options: MergeOptions): Promise<CalibrateResult> {
  await checkJsonOutput(options);
  return save(mergeStatistics(await Promise.all(options.inputs.map(readStatistics))), options);
}

async function save(statistics: Statistics, { output, force }: OutputOptions): Promise<CalibrateResult> {
  const summary = summarise(statistics);
  await writeJsonOutput({ output, force }, () => writeStatistics(statistics, output, summary));
  return { output, tokens: statistics.tokens, summary };
}
