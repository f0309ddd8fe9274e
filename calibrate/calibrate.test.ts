/** Calibration of small models in ONNX Runtime, compared with the same figures from Transformers (expectations.py). */
import { beforeAll, describe, expect, it } from 'vitest';
import { openModel } from '../converters/index.ts';
import { openCheckpoint } from '../formats/checkpoint.ts';
import { encodeModel } from '../formats/onnx/index.ts';
import { readSums } from '../formats/statistics.ts';
import type { ArrivingTokens, FitStandIn } from '../src/core/arriving.ts';
import { effectsOf } from '../src/core/ffn-effect.ts';
import type { Statistics } from '../src/core/statistics.ts';
import { float32Tensor } from '../src/core/tensor.ts';
import { wideValues } from '../src/core/wide-sums.ts';
import { makePlan } from '../src/plan/index.ts';
import { refitBlock } from '../src/plan/refit.ts';
import { createOpenGraph } from '../src/runtime/index.ts';
import { readFloats } from '../src/tensors/index.ts';
import expected from './expectations.json' with { type: 'json' };
import { ffnEffect } from './ffn-effect.ts';
import {
  calibrate,
  importanceOf,
  mergeStatistics,
  refitWalk,
  type StatisticsSummary,
  summarise,
  USUAL_STATISTICS,
} from './index.ts';

/** Everything that is measured of a model, or of a shard of it. */
async function calibrateFolder(
  folder: string,
  tokens: readonly number[],
  shard = { index: 0, count: 1 },
  statistics = USUAL_STATISTICS,
) {
  const checkpoint = await openCheckpoint(folder);
  const pieces = openModel(checkpoint, { precision: 'fp32' });
  const openGraph = createOpenGraph({ encode: encodeModel, threads: 1 });
  const texts = [{ name: 'expected', sha256: '0'.repeat(64), tokens }];
  const options = { openGraph, readFloats, fingerprint: checkpoint.fingerprint, statistics };
  return calibrate(pieces, { texts, sequenceLength: expected.sequenceLength, shard }, options);
}

const measure = (shard?: { index: number; count: number }) =>
  calibrateFolder('fixtures/tiny-llama', expected.tokens, shard);

let statistics: Statistics;
let summary: StatisticsSummary;

beforeAll(async () => {
  statistics = await measure();
  summary = await summarise(statistics, readSums);
});

/** The largest difference of a column from the expected one. */
function worst(column: keyof typeof expected.columns): number {
  return Math.max(...expected.columns[column].map((value, layer) => Math.abs(summary.layers[layer][column] - value)));
}

/** The share of the stream's energy that rows get wrong, on average. */
function meanError({ wanted, factors }: ArrivingTokens, rows: Float32Array): number {
  const hidden = rows.length / factors.length;
  const sum = rows.reduce((all, value, i) => all + factors[Math.floor(i / hidden)] * (wanted[i] - value) ** 2, 0);
  return sum / rows.length;
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
    // float32 noise through twelve layers on values of order 1. Norms are of the weights themselves.
    for (const column of ['gateMean', 'gateStd', 'gateTokenStd', 'meanAbsUp'] as const)
      expect(worst(column)).toBeLessThan(2e-5);
    expect(worst('meanDownNorm')).toBeLessThan(1e-12);
  });

  it('measures the energy that half of the neurons keep', () => {
    // The oracle's bins are a quarter octave of energy, a few per cent of the neurons in the middle of the ranking.
    expect(worst('oracleEnergyAtHalf')).toBeLessThan(0.002);
    expect(worst('gateEnergyAtHalf')).toBeLessThan(0.005);
  });

  it('finds the thresholds that half of the neurons pass', async () => {
    const { plan } = await makePlan(statistics, { preset: 'top-k', keep: 0.5 }, '', readSums);
    plan.blocks.forEach(({ choice }, layer) => {
      // A bin is a quarter of an octave. Over 384 neurons of different weights the error is far below one bin.
      const threshold = choice?.cut.kind === 'absolute' ? choice.cut.threshold : Number.NaN;
      expect(Math.abs(threshold / expected.columns.thresholdAtHalf[layer] - 1)).toBeLessThan(0.02);
    });
  });

  it.each(expected.moments)(
    'measures the inputs of all linear layers of $folder',
    async ({ folder, tokens, samples }) => {
      const { sums, tokens: count } = await calibrateFolder(folder, tokens);
      for (const [name, expectedLayers] of Object.entries(samples)) {
        const { shape, data } = sums['input-moments'][name];
        const squaresOf = wideValues(Float64Array.from(data));
        const width = shape[shape.length - 1];
        expectedLayers.forEach((squares, layer) => {
          const found = squaresOf.slice(layer * width, (layer + 1) * width).map((sum) => sum / count);
          const all = found.reduce((sum, square) => sum + square, 0) / width;
          squares.forEach((square, i) => {
            // float32 noise of two runtimes through twelve layers, some 1e-5 of an input's root mean square, changes (x
            // + e)^2 by 2 x e. The grid is 2^-24 for each sequence.
            const noise = 2 * Math.sqrt(square) * 1e-5 * Math.sqrt(all);
            expect(Math.abs(found[layer + 16 * i] - square)).toBeLessThan(noise + 2 ** -24);
          });
        });
      }
      expect(Object.keys(samples).sort()).toEqual(['attended', 'attn_in', 'down_in', 'ffn_in', 'head_in']);
    },
  );

  it.each(expected.effects)(
    'measures what errors of FFN blocks cost at the end of $folder',
    async ({ folder, tokens, effects }) => {
      const { sums } = await calibrateFolder(folder, tokens, undefined, [ffnEffect]);
      const found = effectsOf(sums['ffn-effect']);
      expect(found).toHaveLength(effects.length);
      // Of a few hundredths of a nat, float32 noise of two runtimes through twelve layers moves the fifth digit.
      for (const [layer, effect] of effects.entries()) expect(found[layer] / effect).toBeCloseTo(1, 3);
    },
  );

  it.each(expected.refits)(
    'fits maps in place of blocks of $folder, each to what arrives with the earlier ones',
    async ({ folder, tokens, layers, rank, errors }) => {
      const pieces = openModel(await openCheckpoint(folder), { precision: 'fp32' });
      const openGraph = createOpenGraph({ encode: encodeModel, threads: 1 });
      const texts = [{ name: 'expected', sha256: '0'.repeat(64), tokens }];
      const found: number[] = [];
      const standInFor: FitStandIn = async (layer, arriving, products) => {
        const tensors = { reduce: 'reduce', expand: 'expand', offset: 'offset' };
        const expected = { skipped: 1, bytesPerToken: 0 };
        const block = { block: `layers.${layer}.ffn`, repair: { rank, tensors }, expected, why: '' };
        const { standIn } = await refitBlock(block, arriving, 0, products);
        found.push(meanError(arriving, standIn.rows));
        return standIn;
      };
      await refitWalk(pieces, { texts, sequenceLength: expected.sequenceLength }, layers, standInFor, { openGraph });
      expect(found).toHaveLength(errors.length);
      // float32 noise of two runtimes and of moments, through the solution of a system whose condition is below 1e4.
      for (const [i, error] of errors.entries()) expect(found[i] / error).toBeCloseTo(1, 2);
    },
  );

  it('names importances as the weights that read them are named', async () => {
    const { tensors } = await openCheckpoint('fixtures/tiny-llama');
    const importance = importanceOf(statistics);
    const matrices = [...tensors].filter(([name, { shape }]) => shape.length === 2 && name.startsWith('model.layers.'));
    expect([...importance.keys()].sort()).toEqual(['lm_head.weight', ...matrices.map(([name]) => name)].sort());
    for (const [name, { shape }] of matrices) expect(importance.get(name)?.shape).toEqual([shape[1]]);
    const [down, sums] = [importance.get('model.layers.5.mlp.down_proj.weight'), statistics.sums['input-moments']];
    const width = down?.shape[0] ?? 0;
    const squares = wideValues(Float64Array.from(sums.down_in.data));
    const wanted = squares.slice(5 * width, 6 * width).map((sum) => sum / expected.tokens.length);
    expect(await readFloats(down ?? float32Tensor([]))).toEqual(Float32Array.from(wanted));
  });

  it('gives shards that merge to the whole, bit for bit', async () => {
    const [first, second] = [await measure({ index: 0, count: 2 }), await measure({ index: 1, count: 2 })];
    expect(await mergeStatistics([second, first], { readSums, keep: async (sums) => sums })).toEqual(statistics);
  });
});
