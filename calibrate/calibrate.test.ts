/** Calibration of a real model in ONNX Runtime against the same figures from Transformers (expectations.py). */
import { beforeAll, describe, expect, it } from 'vitest';
import { openModel } from '../converters/index.ts';
import { openCheckpoint } from '../formats/checkpoint.ts';
import { encodeModel } from '../formats/onnx/index.ts';
import { readFloats } from '../formats/tensor-data.ts';
import type { Statistics } from '../src/core/statistics.ts';
import { makePlan } from '../src/plan/index.ts';
import { createOpenGraph } from '../src/runtime/index.ts';
import expected from './expectations.json' with { type: 'json' };
import { calibrate, mergeStatistics, type StatisticsSummary, summarise } from './index.ts';

const texts = [{ name: 'expected', sha256: '0'.repeat(64), tokens: expected.tokens }];
const { sequenceLength } = expected;

let measure: (shard: { index: number; count: number }) => Promise<Statistics>;
let statistics: Statistics;
let summary: StatisticsSummary;

beforeAll(async () => {
  const checkpoint = await openCheckpoint('fixtures/tiny-llama');
  const pieces = openModel(checkpoint, { precision: 'fp32' });
  const openGraph = createOpenGraph({ encode: encodeModel, threads: 1 });
  const options = { openGraph, readFloats, fingerprint: checkpoint.fingerprint };
  measure = (shard) => calibrate(pieces, { texts, sequenceLength, shard }, options);
  statistics = await measure({ index: 0, count: 1 });
  summary = summarise(statistics);
});

/** The largest difference of a column from what is expected. */
function worst(column: keyof typeof expected.columns): number {
  return Math.max(...expected.columns[column].map((value, layer) => Math.abs(summary.layers[layer][column] - value)));
}

describe('calibrating fixtures/tiny-llama', () => {
  it('sees every token', () => {
    expect(statistics.tokens).toBe(expected.tokens.length);
    expect(statistics.sequences).toEqual([0, 1]);
  });

  it('measures the residual-inclusive cosine', () => {
    // Half a step of the angle, pi / 65535 / 2, plus float32 noise of two runtimes over twelve layers: some 1e-5.
    expect(worst('meanCosine')).toBeLessThan(Math.PI / 65535 / 2 + 1e-5);
  });

  it('measures gates, up projections and weights', () => {
    // float32 noise through twelve layers on values of order 1; norms are of the weights themselves.
    for (const column of ['gateMean', 'gateStd', 'gateTokenStd', 'meanAbsUp'] as const)
      expect(worst(column)).toBeLessThan(2e-5);
    expect(worst('meanDownNorm')).toBeLessThan(1e-12);
  });

  it('measures the energy that half of the neurons keep', () => {
    // The oracle's bins are a quarter octave of energy, a few per cent of the neurons at the middle of the ranking.
    expect(worst('oracleEnergyAtHalf')).toBeLessThan(0.002);
    expect(worst('gateEnergyAtHalf')).toBeLessThan(0.005);
  });

  it('finds the thresholds that half of the neurons pass', () => {
    const { plan } = makePlan(statistics, { preset: 'top-k', density: 0.5 }, '');
    plan.blocks.forEach(({ select }, layer) => {
      // A bin is a quarter of an octave; over 384 neurons of different weights the error is far below one.
      const threshold = select?.kind === 'threshold' ? select.threshold : Number.NaN;
      expect(Math.abs(threshold / expected.columns.thresholdAtHalf[layer] - 1)).toBeLessThan(0.02);
    });
  });

  it('gives shards that merge to the whole, bit for bit', async () => {
    const [first, second] = [await measure({ index: 0, count: 2 }), await measure({ index: 1, count: 2 })];
    expect(mergeStatistics([second, first])).toEqual(statistics);
  });
});
