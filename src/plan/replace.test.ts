/** The preset replace on blocks that are made up: linear in all inputs, in those near their mean, and in none. */
import { beforeAll, describe, expect, it } from 'vitest';
import { narrowBits, sampledPositions } from '../core/ffn-moments.ts';
import { type AimedPlan, type BlockPlan, type Repair, repairTensors } from '../core/plan.ts';
import type { Statistics, Sums } from '../core/statistics.ts';
import { triangleSize } from '../core/wide-sums.ts';
import { makePlan, type PlanOptions, type PlanWithTensors, retune } from './index.ts';
import { inMemory, normal, seeded, statisticsOf } from './testing/statistics.ts';

const [HIDDEN, NEURONS, SEQUENCES, LENGTH] = [16, 1000, 4, 400];
const WIDTH = 2 * HIDDEN + 1;
/** Layers whose blocks are x -> 0.3 x, that for inputs that are not far off, and something of no line. */
const [LINEAR, NEAR, BENT] = [0, 1, 2];
const OTHERS = [3, 4];

/** Every fourth token is far off, and so is the first of a sequence. */
const isFar = (position: number) => position % 4 === 0;

function added(layer: number, x: Float32Array, position: number): Float32Array {
  if (layer === LINEAR || (layer === NEAR && !isFar(position))) return x.map((value) => 0.3 * value);
  return x.map((value, i) => 2 * Math.abs(x[(i + 1) % HIDDEN]) - value ** 2);
}

/** The statistic's sums of a layer, added up here by plain loops. The stream's squares are 1. */
function sumsOfLayer(layer: number): Sums {
  const next = seeded(50 + layer);
  const moments = new Float64Array(2 * triangleSize(WIDTH));
  const sample: number[] = [];
  for (let sequence = 0; sequence < SEQUENCES; sequence++) {
    const sampled = new Set(sampledPositions(sequence, LENGTH));
    for (let position = 0; position < LENGTH; position++) {
      const size = isFar(position) ? 3 : 1;
      const x = Float32Array.from({ length: HIDDEN }, () => size * normal(next));
      const row = Float32Array.of(...x, ...added(layer, x, position), 1);
      for (let i = 0, at = triangleSize(WIDTH); i < WIDTH; i++)
        for (let j = 0; j <= i; j++, at++) moments[at] += row[i] * row[j];
      if (sampled.has(position)) sample.push(...narrowBits(row));
    }
  }
  return {
    moments: { shape: [2, triangleSize(WIDTH)], data: moments },
    sample: { shape: [sample.length / WIDTH, WIDTH], data: Uint16Array.from(sample) },
    sequence: { shape: [SEQUENCES], data: Uint32Array.from({ length: SEQUENCES }, (_, i) => i) },
    length: { shape: [SEQUENCES], data: new Uint32Array(SEQUENCES).fill(LENGTH) },
  };
}

/** Sums that say, layer by layer, how many nats an error costs that is as large as the stream. */
function effectSums(effects: readonly number[]): Statistics['sums'] {
  const sum = (rows: readonly (readonly number[])[]) => ({
    shape: [rows.length, 2],
    data: Float64Array.from(rows.flat()),
  });
  // Shares of 50 tokens, and nats of 10 positions.
  return {
    'ffn-effect': { moved: sum(effects.map(() => [5, 50])), divergence: sum(effects.map((effect) => [effect, 10])) },
  };
}

let statistics: Statistics;
beforeAll(() => {
  const facts = { layers: 5, neurons: NEURONS, sequences: SEQUENCES, sequenceLength: LENGTH };
  const layers = [LINEAR, NEAR, BENT, ...OTHERS].map(sumsOfLayer);
  const made = statisticsOf(facts, effectSums([1, 1, 1, 1, 1]), { 'ffn-moments': [...layers, {}] });
  statistics = { ...made, model: { ...made.model, hiddenSize: HIDDEN } };
});

const planned = (options: object) =>
  makePlan(statistics, { preset: 'replace', ...options } as PlanOptions, 'sha', inMemory);
const shares = ({ plan }: PlanWithTensors) =>
  Object.fromEntries(plan.blocks.map(({ block, expected }) => [block, expected.skipped]));
const gateOf = ({ repair }: BlockPlan) => repair?.gate ?? { threshold: Number.NaN };

function withoutQuantiles({ gate, ...repair }: Repair): Repair {
  if (gate === undefined) throw new Error('a plan without gates');
  return { ...repair, gate: { ...gate, tensors: { slope: gate.tensors.slope } } };
}

describe('the preset replace', () => {
  it('replaces a linear block for all tokens past the warm-up, and then one for those near what was fitted', async () => {
    const made = await planned({ skip: 0.3 });
    expect(made.plan).toMatchObject({
      preset: 'replace',
      prefill: 'sparse',
      target: { kind: 'skipped-blocks', value: 0.3 },
      skipping: { warmUpTokens: 1, reArm: true },
    });
    const { 'layers.0.ffn': linear = 0, 'layers.1.ffn': near = 0, ...others } = shares(made);
    expect(others).toEqual({});
    // One token in 400 is in the warm-up, and one of its sequence in 4 in the sample.
    expect(linear).toBeGreaterThan(0.99);
    // Of 1.5 blocks a token, what is left.
    expect(linear + near).toBeCloseTo(1.5, 2);
    expect(made.plan.blocks[0].why).toContain('explains');
  });

  it('names the tensors of each block, and counts what it reads', async () => {
    const { plan, tensors } = await planned({ skip: 0.3 });
    const [{ repair, expected }] = plan.blocks;
    expect(repair).toMatchObject({ rank: HIDDEN, tensors: { reduce: 'layers.0.ffn.reduce' } });
    const shape = (name: string) => tensors.get(`layers.0.ffn.${name}`)?.shape;
    expect(['reduce', 'expand', 'offset', 'slope'].map(shape)).toEqual([[16, 16], [16, 16], [16], [16]]);
    // Two matrices and two vectors beside what is left of the block.
    const dense = 3 * 4 * HIDDEN * NEURONS;
    const wanted = Math.round((1 - (expected.skipped ?? 0)) * dense) + 4 * (2 * 16 + 2) * HIDDEN;
    expect(expected.bytesPerToken).toBe(wanted);
  });

  it('finds the map again', async () => {
    const { tensors } = await planned({ skip: 0.15 });
    const [reduce, expand] = ['reduce', 'expand'].map((role) => tensors.get(`layers.0.ffn.${role}`)?.data ?? []);
    for (let i = 0; i < HIDDEN; i++) {
      let sum = 0;
      for (let r = 0; r < HIDDEN; r++) sum += expand[i * HIDDEN + r] * reduce[r * HIDDEN + i];
      // The ridge takes a hundredth.
      expect(sum).toBeCloseTo(0.3, 2);
    }
  });

  it('without a gate replaces whole blocks, those of the least error', async () => {
    const made = await planned({ skip: 0.2, gate: false });
    expect(made.plan).toMatchObject({ skipping: null, blocks: [{ block: 'layers.0.ffn' }] });
    expect(made.plan.blocks[0].repair?.gate).toBeUndefined();
    expect(shares(made)).toEqual({ 'layers.0.ffn': 1 });
    expect([...made.tensors.keys()].sort()).toEqual(
      ['expand', 'offset', 'reduce'].map((role) => `layers.0.ffn.${role}`),
    );
    // In the others some tokens would be far off.
    await expect(planned({ skip: 0.4, gate: false })).rejects.toMatchObject({
      code: 'usage',
      message: '1 of the 5 FFN blocks can be replaced for every token, wanted 2',
    });
    await expect(planned({ prefill: 'dense', gate: false })).rejects.toMatchObject({
      code: 'usage',
      hint: expect.stringContaining('--no-gate'),
    });
  });

  it('weighs what is wrong by what it costs at the end of the model', async () => {
    const costly = { ...statistics, sums: effectSums([1e9, 1, 1, 1, 1]) };
    const options = { preset: 'replace', skip: 0.1 } as const;
    const { plan } = await makePlan(costly, options, 'sha', inMemory);
    expect(plan.blocks.map(({ block }) => block)).toEqual(['layers.1.ffn']);
    expect(plan.blocks[0].why).toMatch(/about \d+\.\d{4} nats/);
  });

  it('is not made where no error was tried', async () => {
    const { sums: _, ...rest } = statistics;
    const made = makePlan({ ...rest, sums: {} }, { preset: 'replace' }, 'sha', inMemory);
    await expect(made).rejects.toMatchObject({
      code: 'bad-file',
      hint: expect.stringContaining('--with ffn-moments ffn-effect'),
    });
  });

  it('is corrected by what was measured, in both directions', async () => {
    const { plan, tensors } = await planned({ skip: 0.3 });
    const corrected = (share: number) =>
      retune(plan as AimedPlan, tensors, statistics, { kind: 'skipped-blocks', share }, inMemory);
    const sum = (blocks: readonly BlockPlan[]) =>
      blocks.reduce((all, { expected }) => all + (expected.skipped ?? 0), 0);
    const [fewer, more] = [await corrected(0.25), await corrected(0.33)];
    expect(sum(fewer.blocks)).toBeCloseTo(1.5 + 0.25, 2);
    expect(sum(more.blocks)).toBeCloseTo(1.5 - 0.15, 2);
    expect(gateOf(fewer.blocks[1]).threshold).toBeGreaterThan(gateOf(plan.blocks[1]).threshold);
    expect(gateOf(more.blocks[1]).threshold).toBeLessThan(gateOf(plan.blocks[1]).threshold);
    const none = await corrected(0.9);
    for (const block of none.blocks) expect(gateOf(block).threshold).toBe(-1e6);
  });

  it('cannot be corrected where gates have no quantiles', async () => {
    const { plan, tensors } = await planned({ skip: 0.3 });
    const blocks = plan.blocks.map((block) => ({ ...block, repair: withoutQuantiles(block.repair as Repair) }));
    expect(blocks.length).toBeGreaterThan(0);
    expect(repairTensors(blocks[0].repair, HIDDEN).map(({ name }) => name)).toHaveLength(4);
    const without = { ...plan, blocks } as AimedPlan;
    await expect(
      retune(without, tensors, statistics, { kind: 'skipped-blocks', share: 0.25 }, inMemory),
    ).rejects.toMatchObject({ code: 'mismatch', message: expect.stringContaining('has no quantiles') });
  });

  it.each([
    [{ skip: 0.999 }, 'of the FFN blocks can be replaced after warm-up, wanted 99.9 %'],
    [{ bytes: 0.001 }, 'A map of rank 16 takes more than 0.1 % of a block of 16x1000'],
    [{ warmUpTokens: LENGTH }, 'warmUpTokens'],
  ])('is refused for %j', async (options, message) => {
    await expect(planned(options)).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining(message) });
  });
});
