import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { productScores } from '../../calibrate/product-scores.ts';
import { NO_TAPS } from '../../calibrate/testing/measure.ts';
import type { ModelSpec } from '../core/model.ts';
import { makePlan, type PlanWithTensors, retune } from './index.ts';
import { allocateNeurons, lossAt, readScoreCurves, type ScoreCurve } from './product-scores.ts';
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
/** The middle layer norms what its FFN gives, so a token's size does not matter there. The last one adds little to its stream. */
const STREAMS = [1, 1, 100];

function statisticsFrom(products: readonly Float32Array[]) {
  const spec = { numHiddenLayers: layers, intermediateSize: neurons, hiddenSize: HIDDEN } as ModelSpec;
  const scores = productScores.empty({ spec, tokens, sequences: [] });
  const downNorms = Float64Array.from({ length: neurons }, () => 1);
  products.forEach((act, layer) => {
    const up = new Float32Array(act.length).fill(1);
    const length = (token: number) => Math.hypot(...act.subarray(token * neurons, (token + 1) * neurons));
    const added = Float32Array.from({ length: tokens * HIDDEN }, (_, i) =>
      layer === 1 ? 4 : length(Math.floor(i / HIDDEN)) / 2,
    );
    const down = Float32Array.from({ length: tokens * HIDDEN }, (_, i) => length(Math.floor(i / HIDDEN)) / 2);
    const stream = new Float32Array(tokens * HIDDEN).fill(200 * STREAMS[layer]);
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
  makePlan(STATISTICS, { preset: 'top-k', density, measure }, 'f'.repeat(64), noSums);

describe('neurons chosen by their products', () => {
  it.each([0.1, 0.3, 0.5, 0.8])('are %s of all, as many in each layer as the plan expects', async (density) => {
    const made = await planOf(density);
    const shares = made.plan.blocks.map(({ expected }) => expected.density ?? 0);
    // Half a bin of a sixteenth of an octave holds about a hundredth of the neurons.
    expect(Math.abs(shares.reduce((sum, share) => sum + share, 0) / layers - density)).toBeLessThan(0.002);
    shares.forEach((share, layer) => {
      expect(Math.abs(realised(made, layer) - share)).toBeLessThan(0.01);
    });
  });

  it('are more where they add more to the stream, and cut as loses less', async () => {
    const { plan } = await planOf(0.5);
    const [first, middle, last] = plan.blocks.map(({ choice, expected }) => ({ choice, ...expected }));
    // Tokens of all sizes are the same after a norm. The sum of all tokens is what an absolute cut keeps most of.
    expect(middle.choice?.cut.kind).toBe('mean');
    expect(last.density).toBeLessThan((first.density ?? 0) - 0.2);
    expect(plan.blocks[0].why).toMatch(
      /^product-scores: the mean over 64 neurons of P\(\|act \* up\| \* \|\|down\|\| >= .*threshold.*\) is \d+\.\d % on 300 tokens, and what is left out is 0\.\d{3} % of the stream/,
    );
  });

  it('are scored by the norms of down alone, and predicted in floats alone', async () => {
    const { tensors, plan } = await planOf(0.5, 'predicted');
    expect(tensors.get('layers.1.ffn.weights')?.data).toEqual(new Float32Array(neurons).fill(1));
    expect(plan.blocks.map(({ choice }) => choice?.measure)).toEqual(['predicted', 'predicted', 'predicted']);
    const inBlocks = { kind: 'native', dtype: 'int8' } as const;
    const wanted = { preset: 'top-k', measure: 'predicted', host: inBlocks } as const;
    await expect(makePlan(STATISTICS, wanted, '', noSums)).rejects.toThrowError(
      expect.objectContaining({ code: 'usage', hint: 'Measures for these: gate, activation, product.' }),
    );
  });

  it('state the energy that the best neurons keep', async () => {
    const { plan } = await planOf(0.5);
    plan.blocks.forEach(({ expected: { density = 0, keptEnergy } }, layer) => {
      const atHalf = [0.9, 0.8, 0.7][layer];
      const wanted = density < 0.5 ? (density / 0.5) * atHalf : atHalf + ((density - 0.5) / 0.5) * (1 - atHalf);
      expect(keptEnergy).toBeCloseTo(wanted, 6);
    });
  });

  it('are corrected to the share of their own layer', async () => {
    const made = await planOf(0.5);
    const aims = made.plan.blocks.map(({ expected }) => expected.density ?? 0);
    const byBlock = Object.fromEntries(made.plan.blocks.map(({ block }, layer) => [block, aims[layer] - 0.05]));
    const corrected = retune(made.plan, made.tensors, STATISTICS, { kind: 'density', byBlock });
    corrected.blocks.forEach(({ choice, expected }, layer) => {
      expect(choice?.cut.kind).toBe(made.plan.blocks[layer].choice?.cut.kind);
      expect((expected.density ?? 0) - aims[layer]).toBeCloseTo(0.05, 4);
    });
  });
});

describe('allocateNeurons', () => {
  it('loses no more than any other cuts and shares of the same mean', () => {
    const lossOf = (kept: readonly { cut: string; density: number }[]) =>
      kept.reduce((sum, { cut, density }, layer) => sum + lossAt(curve(layer, cut), density), 0);
    fc.assert(
      fc.property(
        fc.double({ min: 0.05, max: 0.95, noNaN: true }),
        fc.array(fc.tuple(fc.constantFrom('absolute', 'mean'), fc.double({ min: -0.05, max: 0.05, noNaN: true })), {
          minLength: layers,
          maxLength: layers,
        }),
        (density, others) => {
          const best = allocateNeurons(CURVES, density);
          expect(best.reduce((sum, kept) => sum + kept.density, 0) / layers).toBeCloseTo(density, 8);
          const shift = others.reduce((sum, [, by]) => sum + by, 0) / layers;
          const moved = best.map((kept, layer) => ({
            cut: others[layer][0],
            density: kept.density + others[layer][1] - shift,
          }));
          fc.pre(moved.every((kept) => kept.density > 0 && kept.density < 1));
          // Straight lines between edges are a little above the curve.
          expect(lossOf(best)).toBeLessThanOrEqual(lossOf(moved) * 1.002 + 1e-9);
        },
      ),
    );
  });

  it('treats layers alike that are alike', () => {
    const alike = allocateNeurons([CURVES[0], CURVES[0]], 0.4);
    expect(alike[0].density).toBeCloseTo(0.4, 9);
    expect(alike[1]).toEqual(alike[0]);
  });
});

it('a curve and its thresholds are one', () => {
  for (const density of [0.2, 0.5, 0.9]) {
    const { tail, below, lost } = curve(0, 'mean');
    expect(densityAt(tail, thresholdFor(tail, density))).toBeCloseTo(density, 4);
    expect(below.at(-1)).toBeCloseTo(1, 9);
    expect(lossAt({ cut: 'mean', tail, below, lost }, 1)).toBe(lost[0]);
    expect(lossAt({ cut: 'mean', tail, below, lost }, 0)).toBeCloseTo(lost.at(-1) ?? 0, 9);
  }
});

it('a layer of which nothing was counted is refused', () => {
  const spec = { numHiddenLayers: layers, intermediateSize: neurons, hiddenSize: HIDDEN } as ModelSpec;
  const empty = statisticsOf(FACTS, { 'product-scores': productScores.empty({ spec, tokens, sequences: [] }) });
  expect(() => readScoreCurves(empty, 1)).toThrow('The statistics counted no scores in layer 1');
});
