import { describe, expect, it } from 'vitest';
import { activationHistogram } from '../../calibrate/activation-histogram.ts';
import type { ModelSpec } from '../core/model.ts';
import type { LayerSums, Statistics } from '../core/statistics.ts';
import { makePlan, type PlanWithTensors, retune } from './index.ts';
import { densityAt, scoreTailOf, thresholdFor } from './score-tail.ts';
import { inMemory, normal, noSums, seeded, statisticsOf } from './testing/statistics.ts';

const FACTS = { layers: 2, neurons: 64, sequences: 1, sequenceLength: 400 };
const { layers, neurons, sequenceLength: tokens } = FACTS;

/** Activations of each layer, [tokens, neurons], spread widely over neurons as a gated FFN's are. */
function activations(seed: number): Float32Array[] {
  const next = seeded(seed);
  const sizes = Array.from({ length: neurons }, () => 2 ** (2 * normal(next)));
  return Array.from({ length: layers }, () =>
    Float32Array.from({ length: tokens * neurons }, (_, i) => sizes[i % neurons] * normal(next)),
  );
}

function statisticsFrom(acts: readonly Float32Array[]): Statistics {
  const spec = { numHiddenLayers: layers, intermediateSize: neurons, hiddenSize: 4 } as ModelSpec;
  const histograms = acts.map((act, layer) => {
    const histogram = activationHistogram.empty({ spec, tokens, sequences: [] });
    const none = new Float32Array(0);
    const values = {
      attn_in: none,
      attended: none,
      ffn_residual: none,
      ffn_in: none,
      gate: none,
      up: none,
      act,
      ffn_out: none,
    };
    const context = { spec, tokens, firstToken: 0, downNorms: new Float64Array(0), square: async () => none };
    activationHistogram.add(histogram, layer, values, context);
    return histogram;
  });
  const next = seeded(17);
  const perNeuron = () => Float64Array.from({ length: layers * neurons }, () => 0.2 + next());
  // The second layer measured half as many tokens.
  const counts = Float64Array.of(tokens, tokens / 2);
  // Kept energy 0.9 at half the neurons of the first layer, 0.7 at those of the second.
  const curve = Float64Array.of(
    ...[0.9, 0.96, 1].map((x) => x * counts[0]),
    ...[0.7, 0.9, 1].map((x) => x * counts[1]),
  );
  const sums = {
    'neuron-magnitudes': {
      up_abs: { shape: [layers, neurons], data: perNeuron().map((value) => value * tokens) },
      down_norm: { shape: [layers, neurons], data: perNeuron() },
      count: { shape: [layers], data: counts },
    },
    'kept-energy': {
      densities: { shape: [3], data: Float64Array.of(0.5, 0.75, 1) },
      gate: { shape: [layers, 3], data: curve },
      count: { shape: [layers], data: counts },
    },
  };
  return statisticsOf(FACTS, sums, { 'activation-histogram': histograms });
}

const ACTS = activations(1);
const STATISTICS = statisticsFrom(ACTS);

/** Share of neurons that the operator's rule computes: |act_j| * weights_j >= threshold, in float32. */
function realised({ plan, tensors }: PlanWithTensors, acts: readonly Float32Array[]): Record<string, number> {
  return Object.fromEntries(
    plan.blocks.map(({ block, choice }, layer) => {
      if (choice?.cut.kind !== 'absolute') throw new Error('no threshold');
      const { threshold } = choice.cut;
      const weights = tensors.get(choice.tensors.weights ?? '')?.data ?? [];
      const kept = acts[layer].filter((act, i) => Math.fround(Math.abs(act) * weights[i % neurons]) >= threshold);
      return [block, kept.length / acts[layer].length];
    }),
  );
}

const planTopK = (density: number) =>
  makePlan(STATISTICS, { preset: 'top-k', keep: density }, 'f'.repeat(64), inMemory);

describe('top-k', () => {
  it.each([0.05, 0.1, 0.3, 0.5, 0.7, 0.95])(
    'finds thresholds that keep %s of the neurons to half a point',
    async (density) => {
      const made = await planTopK(density);
      for (const share of Object.values(realised(made, ACTS))) expect(Math.abs(share - density)).toBeLessThan(0.005);
      // The histogram's own idea of the density is what was asked for.
      for (const { expected } of made.plan.blocks) expect(expected.density).toBeCloseTo(density, 5);
    },
  );

  it('scores by E|up| times the down norm', async () => {
    const { plan, tensors } = await planTopK(0.5);
    expect([...tensors.keys()]).toEqual(['layers.0.ffn.weights', 'layers.1.ffn.weights']);
    const sums = STATISTICS.sums['neuron-magnitudes'];
    const at = neurons + 3;
    const wanted = Math.fround((sums.up_abs.data[at] / (tokens / 2)) * sums.down_norm.data[at]);
    expect(tensors.get('layers.1.ffn.weights')?.data[3]).toBe(wanted);
    expect(plan.blocks[1].choice).toMatchObject({
      measure: 'activation',
      cut: { kind: 'absolute' },
      tensors: { weights: 'layers.1.ffn.weights' },
    });
  });

  it('states the energy kept and the bytes read', async () => {
    const {
      notes,
      blocks: [{ expected, why }],
    } = (await planTopK(0.75)).plan;
    // Gate whole and 0.75 of up and down, of 64 x 4 floats.
    expect(expected.bytesPerToken).toBe((1 + 2 * 0.75) * 64 * 4 * 4);
    expect(notes?.[0]).toMatch(
      /^A neuron .*, \|act\| \* E\|up\| \* \|\|down\|\|, reaches the threshold\. .* activation-histogram.* on 400 tokens\.$/,
    );
    expect(why).toMatch(/^75\.0 % of scores reach \d\.\d+$/);
  });

  it.each([
    ['at a point', 0.75, [0.96, 0.9]],
    ['between two points', 0.6, [0.9 + 0.4 * 0.06, 0.7 + 0.4 * 0.2]],
    ['between the last two', 0.9, [0.96 + 0.6 * 0.04, 0.9 + 0.6 * 0.1]],
    ['before the first, from nothing at 0', 0.2, [0.4 * 0.9, 0.4 * 0.7]],
  ])("reads each layer's own energy %s of its curve", async (_, density, energies) => {
    const { blocks } = (await planTopK(density)).plan;
    blocks.forEach(({ expected }, layer) => {
      expect(expected.keptEnergy).toBeCloseTo(energies[layer], 5);
    });
  });

  it('reckons with the host, whose times follow the thresholds', async () => {
    const host = { kind: 'stock', dtype: 'fp32' } as const;
    expect((await planTopK(0.1)).plan.host).toEqual({ kind: 'native' });
    // Blocks of 64 x 4 weights are nothing but operators.
    await expect(makePlan(STATISTICS, { preset: 'top-k', keep: 0.1, host }, '', inMemory)).rejects.toThrowError(
      expect.objectContaining({ code: 'usage' }),
    );
    const large = { ...STATISTICS, model: { ...STATISTICS.model, hiddenSize: 2 ** 20 } };
    const { plan, tensors } = await makePlan(large, { preset: 'top-k', keep: 0.1, host }, '', inMemory);
    expect(plan).toMatchObject({ host, target: { kind: 'density', value: 0.1 } });
    const timesOf = ({ blocks }: typeof plan) => blocks.map(({ expected }) => expected.time ?? Number.NaN);
    expect(timesOf(plan)).toHaveLength(layers);
    const byBlock = Object.fromEntries(plan.blocks.map(({ block }) => [block, 0.15]));
    const corrected = await retune(plan, tensors, large, { kind: 'density', byBlock }, inMemory);
    timesOf(corrected).forEach((time, layer) => {
      expect(time).toBeLessThan(timesOf(plan)[layer]);
    });
  });

  it('leaves layers alone that are to stay dense, and plans the others as it would have', async () => {
    const all = await planTopK(0.5);
    const preset = { preset: 'top-k', keep: 0.5, denseLayers: [0] } as const;
    const { plan, tensors } = await makePlan(STATISTICS, preset, 'f'.repeat(64), inMemory);
    expect(plan.blocks).toEqual([all.plan.blocks[1]]);
    expect([...tensors]).toEqual([...all.tensors].slice(1));
  });

  it.each([
    ['a layer that there is not', [2], /an integer from 0 to 1 for a layer of denseLayers but received 2/],
    ['all of them', [1, 0, 1], /All 2 layers stay dense/],
  ])('refuses to leave %s dense', async (_, denseLayers, message) => {
    await expect(makePlan(STATISTICS, { preset: 'top-k', denseLayers }, '', inMemory)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(message),
    });
  });

  it('refuses densities that are none', async () => {
    for (const density of [0, 1, -0.5, Number.NaN])
      await expect(planTopK(density)).rejects.toThrowError(expect.objectContaining({ code: 'usage' }));
  });

  it('refuses statistics that lack a part', async () => {
    const { 'kept-energy': _, ...sums } = STATISTICS.sums;
    await expect(makePlan({ ...STATISTICS, sums }, { preset: 'top-k' }, '', noSums)).rejects.toThrowError(
      /the statistic "kept-energy" was not measured/,
    );
    await expect(makePlan({ ...STATISTICS, layerSums: {} }, { preset: 'top-k' }, '', noSums)).rejects.toMatchObject({
      message: expect.stringContaining('the statistic "activation-histogram" was not measured'),
      // It is measured without being asked for.
      hint: expect.not.stringContaining('--with'),
    });
    const spec = { numHiddenLayers: layers, intermediateSize: neurons } as ModelSpec;
    const [first] = STATISTICS.layerSums['activation-histogram'];
    const empty = activationHistogram.empty({ spec, tokens, sequences: [] });
    const second = { ...STATISTICS, layerSums: { 'activation-histogram': [first, empty] } };
    await expect(makePlan(second, { preset: 'top-k' }, '', inMemory)).rejects.toThrowError(
      /histogram of layer 1 is empty/,
    );
  });

  it('reads the histograms a layer at a time', async () => {
    const read: number[] = [];
    const layersOf = STATISTICS.layerSums['activation-histogram'];
    const readSums = async (sums: LayerSums) => {
      read.push(layersOf.indexOf(sums));
      return inMemory(sums);
    };
    const made = await makePlan(STATISTICS, { preset: 'top-k', keep: 0.4 }, '', readSums);
    expect(read).toEqual([0, 1]);
    const byBlock = { 'layers.1.ffn': 0.3 };
    await retune(made.plan, made.tensors, STATISTICS, { kind: 'density', byBlock }, readSums);
    // A block that was not measured needs none.
    expect(read).toEqual([0, 1, 1]);
  });
});

describe('densityAt', () => {
  const edges = Float64Array.of(1, 2, 4);
  /** Two neurons, bins [0, 1), [1, 2), [2, 4), [4, inf). */
  const tail = (weights: number[]) =>
    scoreTailOf(
      {
        edges: { shape: [3], data: edges },
        counts: { shape: [2, 4], data: Uint32Array.of(1, 1, 1, 1, 0, 0, 4, 0) },
      },
      0,
      Float32Array.from(weights),
    );

  it('counts tails at edges and goes straight between them', () => {
    // At 2: neuron 0 has 2 of 4 at or above, neuron 1 all 4: 6 of 8. At 3: 1 + 0.5 and 2: 3.5 of 8.
    expect(densityAt(tail([1, 1]), 2)).toBe(6 / 8);
    expect(densityAt(tail([1, 1]), 3)).toBe(3.5 / 8);
    expect(densityAt(tail([1, 1]), 0)).toBe(1);
    // Below the first edge: half of neuron 0's one small token.
    expect(densityAt(tail([1, 1]), 0.5)).toBe(7.5 / 8);
  });

  it('moves each neuron by its own weight', () => {
    // Scores 3 mean magnitudes 1.5 of neuron 0 (2.5 of 4) and 6 of neuron 1 (none).
    expect(densityAt(tail([2, 0.5]), 3)).toBe(2.5 / 8);
    // A neuron of no weight never passes.
    expect(densityAt(tail([1, 0]), 2)).toBe(2 / 8);
  });

  it('is undone by thresholdFor', () => {
    for (const density of [0.2, 0.5, 0.8]) {
      const threshold = thresholdFor(tail([1.5, 0.7]), density);
      expect(threshold).toBe(Math.fround(threshold));
      expect(densityAt(tail([1.5, 0.7]), threshold)).toBeCloseTo(density, 5);
    }
    expect(thresholdFor(tail([1, 1]), 1)).toBe(0);
    expect(thresholdFor(tail([0, 0]), 0.5)).toBe(0);
  });
});

describe('retune of top-k', () => {
  /** What the sparse model sees: everything a fifth smaller. */
  const drifted = ACTS.map((act) => act.map((value) => value * 0.8));

  it('comes to the density on activations that drifted', async () => {
    let made = await planTopK(0.4);
    expect(Math.abs(realised(made, drifted)['layers.0.ffn'] - 0.4)).toBeGreaterThan(0.02);
    for (let i = 0; i < 3; i++)
      made = {
        ...made,
        plan: await retune(
          made.plan,
          made.tensors,
          STATISTICS,
          { kind: 'density', byBlock: realised(made, drifted) },
          inMemory,
        ),
      };
    for (const share of Object.values(realised(made, drifted))) expect(Math.abs(share - 0.4)).toBeLessThan(0.005);
    expect(made.plan.target).toEqual({ kind: 'density', value: 0.4 });
  });

  it('leaves blocks that were not measured as they are', async () => {
    const made = await planTopK(0.4);
    const byBlock = { 'layers.1.ffn': 0.3 };
    const plan = await retune(made.plan, made.tensors, STATISTICS, { kind: 'density', byBlock }, inMemory);
    expect(plan.blocks[0]).toEqual(made.plan.blocks[0]);
    expect(plan.blocks[1].expected.density).toBeCloseTo(0.5, 5);
  });
});
