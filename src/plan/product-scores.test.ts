import { describe, expect, it } from 'vitest';
import { productScores } from '../../calibrate/product-scores.ts';
import { NO_TAPS } from '../../calibrate/testing/measure.ts';
import type { ModelSpec } from '../core/model.ts';
import type { Statistics } from '../core/statistics.ts';
import { makePlan, type PlanWithTensors, retune } from './index.ts';
import { lossAt, readScoreCurves, type ScoreCurve } from './product-scores.ts';
import { densityAt, thresholdFor } from './score-tail.ts';
import { normal, noSums, seeded, statisticsOf } from './testing/statistics.ts';

const FACTS = { layers: 3, neurons: 64, sequences: 1, sequenceLength: 300 };
const { layers, neurons, sequenceLength: tokens } = FACTS;
const HIDDEN = 4;

/** A layer's act * up over its neurons and tokens: tokens of a layer differ in size by `spread` octaves. */
function productsOf(seed: number, spread: number): Float32Array {
  const next = seeded(seed);
  const sizes = Array.from({ length: neurons }, () => 2 ** normal(next));
  return Float32Array.from({ length: tokens * neurons }, (_, i) => {
    const token = Math.floor(i / neurons);
    return sizes[i % neurons] * 2 ** (spread * Math.sin(token)) * normal(next);
  });
}

const PRODUCTS = [productsOf(1, 0), productsOf(2, 3), productsOf(3, 0)];
/** The middle layer norms what its FFN gives, so a token's size does not matter there. */

function statisticsFrom(products: readonly Float32Array[], isNormed = true) {
  const spec = { numHiddenLayers: layers, intermediateSize: neurons, hiddenSize: HIDDEN } as ModelSpec;
  const scores = productScores.empty({ spec, tokens, sequences: [] });
  const downNorms = Float64Array.from({ length: neurons }, () => 1);
  products.forEach((act, layer) => {
    const up = new Float32Array(act.length).fill(1);
    const length = (token: number) => Math.hypot(...act.subarray(token * neurons, (token + 1) * neurons));
    const added = Float32Array.from({ length: tokens * HIDDEN }, (_, i) =>
      isNormed && layer === 1 ? 400 : length(Math.floor(i / HIDDEN)) / 2,
    );
    const down = Float32Array.from({ length: tokens * HIDDEN }, (_, i) => length(Math.floor(i / HIDDEN)) / 2);
    const stream = new Float32Array(tokens * HIDDEN).fill(200);
    const context = { spec, tokens, firstToken: 0, downNorms, square: async () => new Float32Array(0) };
    productScores.add(scores, layer, { ...NO_TAPS, act, up, ffn_residual: stream, ffn_out: added, down }, context);
  });
  const perLayer = (value: number) => ({ shape: [layers], data: new Float64Array(layers).fill(value) });
  const perNeuron = (value: number) => ({
    shape: [layers, neurons],
    data: new Float64Array(layers * neurons).fill(value),
  });
  return statisticsOf(FACTS, {
    'product-scores': scores,
    'neuron-magnitudes': { up_abs: perNeuron(tokens), down_norm: perNeuron(1), count: perLayer(tokens) },
    'kept-energy': {
      densities: { shape: [2], data: Float64Array.of(0.5, 1) },
      gate: { shape: [layers, 2], data: new Float64Array(2 * layers).fill(0.1 * tokens) },
      oracle: { shape: [layers, 2], data: Float64Array.of(0.9, 1, 0.8, 1, 0.7, 1).map((share) => share * tokens) },
      count: perLayer(tokens),
    },
  });
}

const STATISTICS = statisticsFrom(PRODUCTS);
const CURVES = Array.from({ length: layers }, (_, layer) => readScoreCurves(STATISTICS, layer));
const curve = (layer: number, cut: string): ScoreCurve => {
  const found = CURVES[layer].find((one) => one.cut === cut);
  if (found === undefined) throw new Error(`no ${cut}`);
  return found;
};

/** Share of a layer's neurons that the operator computes. */
function realised({ plan }: PlanWithTensors, layer: number): number {
  const cut = plan.blocks[layer].choice?.cut;
  if (cut === undefined || cut.kind === 'deviation') throw new Error('no threshold');
  const scores = PRODUCTS[layer].map(Math.abs);
  const meanOf = (token: number) =>
    scores.subarray(token * neurons, (token + 1) * neurons).reduce((sum, score) => sum + score, 0) / neurons;
  const means = Array.from({ length: tokens }, (_, token) => (cut.kind === 'mean' ? meanOf(token) : 1));
  return scores.filter((score, i) => score >= cut.threshold * means[Math.floor(i / neurons)]).length / scores.length;
}

const planOf = (density: number, measure: 'product' | 'predicted' = 'product') =>
  makePlan(STATISTICS, { preset: 'top-k', keep: density, measure }, 'f'.repeat(64), noSums);

describe('neurons chosen by their products', () => {
  it.each([0.1, 0.3, 0.5, 0.8])('are %s of all, in each layer', async (density) => {
    const made = await planOf(density);
    made.plan.blocks.forEach(({ expected }, layer) => {
      expect(expected.density).toBeCloseTo(density, 4);
      // A line through a bin is off by at most what the bin holds: here, a seventeenth of an octave, 3 % of the neurons.
      expect(Math.abs(realised(made, layer) - density)).toBeLessThan(0.015);
    });
  });

  it('are cut as all layers together lose less', async () => {
    const cutsOf = async (statistics: Statistics) => {
      const { plan } = await makePlan(statistics, { preset: 'top-k', measure: 'product' }, '', noSums);
      return plan.blocks.map(({ choice }) => choice?.cut.kind);
    };
    // With a norm after the FFN tokens of all sizes weigh alike, and what the middle layer loses is most of all.
    expect(await cutsOf(STATISTICS)).toEqual(['mean', 'mean', 'mean']);
    const lost = (cut: 'absolute' | 'mean') =>
      CURVES.reduce((sum, _, layer) => sum + lossAt(curve(layer, cut), 0.5), 0);
    expect(lost('mean')).toBeLessThan(lost('absolute'));
    // Without it, tokens with more to do have to keep more.
    expect(await cutsOf(statisticsFrom(PRODUCTS, false))).toEqual(['absolute', 'absolute', 'absolute']);
  });

  it('are explained', async () => {
    const { notes, blocks } = (await planOf(0.5)).plan;
    expect(notes).toEqual([
      "A neuron is computed where its score, |act * up| * ||down||, reaches the threshold times the token's mean. " +
        'Thresholds are from product-scores, kept energy from kept-energy by oracle, on 300 tokens.',
    ]);
    expect(blocks[0].why).toMatch(/^50\.0 % of scores reach 0\.\d+, and what is left out is 0\.\d{3} % of the stream/);
    expect((await planOf(0.5, 'predicted')).plan.notes?.[0]).toContain('|act * up| * ||down|| as predicted, reaches');
  });

  it('are scored by the norms of down alone, and predicted in floats alone', async () => {
    const { tensors, plan } = await planOf(0.5, 'predicted');
    expect(tensors.get('layers.1.ffn.weights')?.data).toEqual(new Float32Array(neurons).fill(1));
    expect(plan.blocks.map(({ choice }) => choice?.measure)).toEqual(['predicted', 'predicted', 'predicted']);
    const inBlocks = { kind: 'native', dtype: 'int8' } as const;
    const wanted = { preset: 'top-k', measure: 'predicted', host: inBlocks } as const;
    await expect(makePlan(STATISTICS, wanted, '', noSums)).rejects.toThrowError(
      expect.objectContaining({ code: 'usage', hint: 'Measures of top-k for these: activation, product.' }),
    );
  });

  it('state the energy that the best neurons keep', async () => {
    const { plan } = await planOf(0.5);
    plan.blocks.forEach(({ expected }, layer) => {
      expect(expected.keptEnergy).toBeCloseTo([0.9, 0.8, 0.7][layer], 4);
    });
  });

  it('are corrected with the cut that was chosen, and stay where nothing is off', async () => {
    const made = await planOf(0.5);
    const of = (density: number) => ({
      kind: 'density' as const,
      byBlock: Object.fromEntries(made.plan.blocks.map(({ block }) => [block, density])),
    });
    const corrected = await retune(made.plan, made.tensors, STATISTICS, of(0.45), noSums);
    corrected.blocks.forEach(({ choice, expected }) => {
      expect(choice?.cut.kind).toBe('mean');
      expect(expected.density).toBeCloseTo(0.55, 4);
    });
    const small = await planOf(0.004);
    const same = await retune(small.plan, small.tensors, STATISTICS, of(0.004), noSums);
    same.blocks.forEach(({ expected }) => {
      expect(expected.density).toBeCloseTo(0.004, 5);
    });
  });
});

it('a curve and its thresholds are one', () => {
  for (const density of [0.2, 0.5, 0.9]) {
    const { tail, below, lost } = curve(0, 'mean');
    expect(densityAt(tail, thresholdFor(tail, density))).toBeCloseTo(density, 4);
    expect(below.at(-1)).toBeCloseTo(1, 9);
    expect(lossAt({ cut: 'mean', tail, below, lost }, 1)).toBe(0);
    expect(lossAt({ cut: 'mean', tail, below, lost }, 0)).toBeCloseTo(lost.at(-1) ?? 0, 9);
  }
});

it('a layer of which nothing was counted is refused', () => {
  const spec = { numHiddenLayers: layers, intermediateSize: neurons, hiddenSize: HIDDEN } as ModelSpec;
  const empty = statisticsOf(FACTS, { 'product-scores': productScores.empty({ spec, tokens, sequences: [] }) });
  expect(() => readScoreCurves(empty, 1)).toThrow('The statistics counted no scores in layer 1');
});
