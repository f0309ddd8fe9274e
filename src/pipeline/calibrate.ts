/** `lacuna calibrate` and `lacuna calibrate merge`: a checkpoint and texts become statistics. */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { calibrate as measure, mergeStatistics, type StatisticsSummary, summarise } from '../../calibrate/index.ts';
import { encodeModel } from '../../formats/onnx/index.ts';
import { readStatistics, writeStatistics } from '../../formats/statistics.ts';
import { readFloats } from '../../formats/tensor-data.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import type { Statistics } from '../core/statistics.ts';
import { createOpenGraph } from '../runtime/index.ts';
import { checkJsonOutput } from './output.ts';
import { openPieces, type SourceOptions } from './source.ts';
import { readTexts } from './texts.ts';

export type { StatisticsSummary };

export interface CalibrateOptions extends SourceOptions {
  /** As for `convert`. */
  readonly checkpoint: string;
  /** UTF-8 files. */
  readonly data: readonly string[];
  /** JSON file to make; its tensors go beside it. */
  readonly output: string;
  /** Tokens to measure at most, over all shards. */
  readonly tokens?: number;
  readonly sequenceLength?: number;
  /** Measures every `count`-th sequence from the `index`-th (0-based) on. */
  readonly shard?: { readonly index: number; readonly count: number };
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
 * @example await calibrate({ checkpoint: 'fixtures/tiny-llama', data: ['fixtures/texts/fit.txt'], output: 's.json' });
 */
export async function calibrate(options: CalibrateOptions): Promise<CalibrateResult> {
  await checkJsonOutput(options);
  const { checkpoint, pieces } = await openPieces(options.checkpoint, options);
  const [texts, tokenizer] = await Promise.all([readTexts(options.data), loadTokenizer(checkpoint)]);
  const { tokens: maxTokens, sequenceLength, shard, signal, progress, threads } = options;
  const statistics = await measure(
    pieces,
    {
      texts: texts.map(({ name, sha256, content }) => ({
        name,
        sha256,
        tokens: tokenizer.encode(content, { addSpecialTokens: false }),
      })),
      sequenceLength,
      maxTokens,
      shard,
      bosTokenId: tokenizer.bosTokenId,
    },
    {
      openGraph: createOpenGraph({ encode: encodeModel, threads }),
      readFloats,
      fingerprint: checkpoint.fingerprint,
      progress,
      signal,
    },
  );
  return save(statistics, options.output);
}

export interface MergeOptions {
  readonly inputs: readonly string[];
  readonly output: string;
  readonly force?: boolean;
}

/** Adds up the statistics of shards; the order does not matter. */
export async function mergeCalibrations(options: MergeOptions): Promise<CalibrateResult> {
  await checkJsonOutput(options);
  return save(mergeStatistics(await Promise.all(options.inputs.map(readStatistics))), options.output);
}

async function save(statistics: Statistics, output: string): Promise<CalibrateResult> {
  const summary = summarise(statistics);
  await mkdir(dirname(output), { recursive: true });
  await writeStatistics(statistics, output, summary);
  return { output, tokens: statistics.tokens, summary };
}
