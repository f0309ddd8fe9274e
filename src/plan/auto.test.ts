import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planSchema } from '../core/plan.ts';
import { blockPrecisions, bytesPerWeight, precisionNamed } from '../core/precision.ts';
import { type BlockOptions, blockOptions, type Mix, mixesByLoss, planOfMix, uniformMix } from './auto.ts';
import { DEFAULT_COSTS } from './default-costs.ts';
import { stepTime } from './step.ts';

const DTYPES = ['int8', 'int6', 'int5', 'int4'] as const;

const RANKS: readonly string[] = DTYPES;

const SPEC = {
  hiddenSize: 64,
  intermediateSize: 160,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
  numKeyValueHeads: 2,
  headDim: 16,
  vocabSize: 500,
};

const BLOCKS = ['layers.0.attention', 'layers.0.ffn', 'layers.1.attention', 'layers.1.ffn'];
const LOSSES = {
  whole: { int8: 0.002, int6: 0.005, int5: 0.02, int4: 0.07 },
  shares: { 'layers.0.attention': 0.1, 'layers.0.ffn': 0.6, 'layers.1.attention': 0.05, 'layers.1.ffn': 0.25 },
};

const modelOn = (host: 'native' | 'stock') => {
  return { spec: SPEC, host, costs: DEFAULT_COSTS[host], precisions: blockPrecisions(host), blocks: BLOCKS };
};

/** Every choice of one option a block. */
function allMixes(blocks: readonly BlockOptions[]): { kl: number; seconds: number }[] {
  return blocks.reduce<{ kl: number; seconds: number }[]>(
    (sums, { options }) =>
      sums.flatMap(({ kl, seconds }) => options.map((one) => ({ kl: kl + one.kl, seconds: seconds + one.seconds }))),
    [{ kl: 0, seconds: 0 }],
  );
}

/** In thousandths, so that sums tell all differences. */
const anyOption = fc.record({
  kl: fc.integer({ min: -10, max: 1000 }).map((value) => value / 1000),
  seconds: fc.integer({ min: 100, max: 1000 }).map((value) => value / 1000),
});

const anyBlocks = fc.array(fc.array(anyOption, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 4 });

function named(blocks: readonly (readonly { readonly kl: number; readonly seconds: number }[])[]): BlockOptions[] {
  return blocks.map((options, at) => {
    return { block: `layers.${at}.ffn`, options: options.map((one, i) => ({ ...one, dtype: DTYPES[i], bytes: 1 })) };
  });
}

describe('mixes', () => {
  it('lose more and take less, from the most exact to the fastest', () => {
    fc.assert(
      fc.property(anyBlocks, (given) => {
        const blocks = named(given);
        const mixes = mixesByLoss(blocks);
        for (let at = 1; at < mixes.length; at++) {
          expect(mixes[at].seconds).toBeLessThan(mixes[at - 1].seconds);
          expect(mixes[at].kl).toBeGreaterThanOrEqual(mixes[at - 1].kl - 1e-12);
        }
        const sum = (of: (options: BlockOptions['options']) => number) =>
          blocks.reduce((total, { options }) => total + of(options), 0);
        expect(mixes[0].kl).toBeCloseTo(
          sum((options) => Math.min(...options.map(({ kl }) => kl))),
          9,
        );
        const fastest = sum((options) => Math.min(...options.map(({ seconds }) => seconds)));
        expect(mixes[mixes.length - 1].seconds).toBeCloseTo(fastest, 9);
      }),
    );
  });

  it('are those that nothing beats: no other is faster at the loss of one of them', () => {
    fc.assert(
      fc.property(anyBlocks, (given) => {
        const blocks = named(given);
        const all = allMixes(blocks);
        for (const { kl, seconds } of mixesByLoss(blocks))
          for (const other of all) expect(other.kl < kl - 1e-9 && other.seconds < seconds - 1e-9).toBe(false);
      }),
    );
  });

  it('take bits first where they cost the least for their time', () => {
    const mixes = mixesByLoss(blockOptions(modelOn('native'), LOSSES));
    const last = ({ chosen }: Mix) => chosen.map(({ dtype }) => dtype).join(' ');
    expect(last(mixes[0])).toBe('int8 int8 int8 int8');
    expect(last(mixes[mixes.length - 1])).toBe('int4 int4 int4 int4');
    // FFN of layer 0 loses the most, so it is the last in every precision.
    const order = ['int6', 'int5', 'int4'].map((dtype) =>
      BLOCKS.map((_, at) => mixes.findIndex(({ chosen }) => RANKS.indexOf(chosen[at].dtype) >= RANKS.indexOf(dtype))),
    );
    for (const firsts of order) expect(Math.max(...firsts)).toBe(firsts[1]);
  });
});

describe('ways to store a block', () => {
  it('add up to the model: losses to that of the precision, times to a step', () => {
    const model = modelOn('native');
    const blocks = blockOptions(model, LOSSES);
    const step = (dtype: (typeof DTYPES)[number]) =>
      stepTime(model.costs, SPEC, { kind: 'native', precision: precisionNamed(dtype) }, [], 100) ?? Number.NaN;
    for (const dtype of DTYPES) {
      const { kl, seconds, bytes } = uniformMix(blocks, dtype);
      expect(kl).toBeCloseTo(LOSSES.whole[dtype] - LOSSES.whole.int8, 12);
      expect(uniformMix(blocks, 'int8').seconds - seconds).toBeCloseTo(step('int8') - step(dtype), 12);
      // Two layers of 64 x 16 x 2 x (4 + 2) and 3 x 64 x 160 weights.
      expect(bytes).toBeCloseTo(2 * (12_288 + 30_720) * bytesPerWeight(precisionNamed(dtype)), 6);
    }
  });

  it('are those that a host gains from, and lose nothing where no losses are given', () => {
    const { options } = blockOptions(modelOn('stock'))[0];
    expect(options.map(({ dtype }) => dtype)).toEqual(['int8', 'int4']);
    expect(options.map(({ kl }) => kl)).toEqual([0, 0]);
  });

  it('are refused without costs of a precision', () => {
    const costs = { ...DEFAULT_COSTS.native, precisions: {} };
    expect(() => blockOptions({ ...modelOn('native'), costs })).toThrow(RangeError);
  });
});

it('a mix becomes a plan that says how each block is stored, and why', () => {
  const model = modelOn('native');
  const mix = mixesByLoss(blockOptions(model, LOSSES))[3];
  const identity = { ...SPEC, modelType: 'llama', fingerprint: 'f' };
  const texts = [{ name: 'choose.txt', sha256: 'a'.repeat(64), tokens: 1000 }];
  const given = { identity, model, mix, shares: LOSSES.shares, budget: 'ppl<=1.02', texts, losses: 'sha' };
  const plan = planOfMix(given);
  expect(planSchema.parse(plan)).toEqual(plan);
  expect(plan).toMatchObject({ preset: 'auto', target: null, budget: 'ppl<=1.02', statistics: 'sha', texts });
  expect(plan.blocks.map(({ block, dtype }) => [block, dtype])).toEqual(
    BLOCKS.map((block, at) => [block, mix.chosen[at].dtype]),
  );
  expect(plan.host).toEqual({ kind: 'native', dtype: mix.chosen.map(({ dtype }) => dtype).sort()[0] });
  expect(plan.blocks.map(({ expected }) => expected.bytesPerToken)).toEqual([49_152, 122_880, 49_152, 122_880]);
  expect(plan.blocks[1].why).toBe('losses: 60.0 % of what the coarsest precision costs');
});
