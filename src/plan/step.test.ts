import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { byActivation } from '../../test/ffn-plan.ts';
import { COSTS, type CostName, timeOf } from '../core/host-costs.ts';
import type { BlockPlan } from '../core/plan.ts';
import { choosePrecision, HOST_DTYPES } from '../core/precision.ts';
import { blockTerms, stepTerms } from './step.ts';

const SHAPE = { hiddenSize: 64, intermediateSize: 128 };
const SPEC = { ...SHAPE, numHiddenLayers: 3, numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 16, vocabSize: 1000 };
const MATRIX = 4 * 64 * 128;
const native = { kind: 'native', precision: choosePrecision('fp32') } as const;
const stock = { kind: 'stock', precision: choosePrecision('fp32') } as const;

const block = (rest: Partial<BlockPlan>): BlockPlan => ({
  block: 'layers.1.ffn',
  expected: { bytesPerToken: 0 },
  why: 'made up',
  ...rest,
});
const keeping = (density: number) => block({ choice: byActivation(0.1), expected: { density, bytesPerToken: 0 } });
const skipping = (skipped: number) =>
  block({ skip: { threshold: 0.9, runLength: 1 }, expected: { skipped, bytesPerToken: 0 } });

const skip = skipping(0.5);
const both = { ...keeping(0.25), skip: skip.skip, expected: { density: 0.25, skipped: 0.5, bytesPerToken: 0 } };

describe('the terms of a block', () => {
  it.each([
    ['chosen rows, by kernels', native, keeping(0.25), { block: 1, choose: 1, scan: MATRIX, row: 0.5 * MATRIX }],
    ['the same of many rows', native, keeping(0.75), { block: 1, choose: 1, scan: MATRIX, row: 1.5 * MATRIX }],
    ['gathered rows', stock, keeping(0.25), { block: 1, choose: 1, gather: 1, scan: MATRIX, row: 0.5 * MATRIX }],
    ['too many rows to gather', stock, keeping(0.3), { block: 1, choose: 1, scan: 3 * MATRIX }],
    [
      'rows of blocks, which are not gathered',
      { kind: 'stock', precision: choosePrecision('int8') } as const,
      keeping(0.1),
      { block: 1, choose: 1, scan: (3 * MATRIX * (1 + 2 / 32)) / 4 },
    ],
    [
      'a measure that reads all of up',
      native,
      block({ choice: { ...byActivation(0.1), measure: 'product' }, expected: { density: 0.25, bytesPerToken: 0 } }),
      { block: 1, choose: 1, scan: 2 * MATRIX, row: 0.25 * MATRIX },
    ],
    [
      'a measure that predicts, and reads rows of all',
      native,
      block({ choice: { ...byActivation(0.1), measure: 'predicted' }, expected: { density: 0.25, bytesPerToken: 0 } }),
      // gate and up in 4 bits, with a float16 scale for each 32 of them.
      { block: 1, choose: 1, scan: (2 * MATRIX * (0.5 + 2 / 32)) / 4, row: 0.75 * MATRIX },
    ],
    // Of those that a plan expects to skip, 80 % do.
    ['skips', native, skip, { block: 0.6, product: 1.8 * MATRIX, test: 0.6, skipped: 0.4 }],
    ['both', native, both, { block: 0.6, choose: 0.6, scan: 0.6 * MATRIX, row: 0.3 * MATRIX, test: 0.6, skipped: 0.4 }],
    [
      'another block',
      native,
      block({ expected: { bytesPerToken: 0.3 * MATRIX } }),
      { block: 1, product: 0.3 * MATRIX },
    ],
  ])('%s', (_, stored, planned, terms) => {
    const found = blockTerms(SHAPE, stored, planned);
    expect(Object.keys(found).sort()).toEqual(Object.keys(terms).sort());
    for (const [name, count] of Object.entries(terms)) expect(found[name as CostName]).toBeCloseTo(count, 6);
  });

  it('without expectations are those of a block that computes all', () => {
    expect(blockTerms(SHAPE, native, block({ choice: byActivation(0.1) }))).toEqual(
      blockTerms(SHAPE, native, keeping(1)),
    );
    expect(blockTerms(SHAPE, native, block({ skip: skip.skip }))).toEqual(blockTerms(SHAPE, native, skipping(0)));
  });
});

it('a step is its layers, whose FFN blocks are dense where the plan lists none, its head and its cache', () => {
  expect(stepTerms(SPEC, native, [keeping(0.25)], 100)).toEqual({
    step: 1,
    head: 4 * 64 * 1000,
    layer: 3,
    // Query and output of 4 heads, key and value of 2, for each layer; two dense blocks.
    product: 3 * 4 * 2 * 64 * 16 * 6 + 2 * 3 * MATRIX,
    // Keys and values of 100 tokens.
    cache: 3 * 2 * 100 * 2 * 16 * 4,
    block: 3,
    choose: 1,
    scan: MATRIX,
    row: 0.5 * MATRIX,
  });
});

const cost = fc.double({ min: 0, max: 1, noNaN: true });
const costs = fc.record(Object.fromEntries(COSTS.map(({ name }) => [name, cost])) as Record<CostName, typeof cost>);
const share = fc.double({ min: 0, max: 1, noNaN: true });

describe('whatever the costs', () => {
  it.each(HOST_DTYPES)('by kernels, %s blocks take longer the more neurons they keep', (dtype) => {
    fc.assert(
      fc.property(costs, share, share, (known, one, other) => {
        const time = (density: number) =>
          timeOf(known, blockTerms(SHAPE, { kind: 'native', precision: choosePrecision(dtype) }, keeping(density)));
        expect(time(Math.min(one, other))).toBeLessThanOrEqual(time(Math.max(one, other)));
      }),
    );
  });

  it('a step takes longer with more layers, words and cached tokens', () => {
    fc.assert(
      fc.property(
        costs,
        fc.nat({ max: 4 }),
        fc.nat({ max: 999 }),
        fc.nat({ max: 999 }),
        (known, layers, words, tokens) => {
          const more = { ...SPEC, numHiddenLayers: 3 + layers, vocabSize: 1000 + words };
          const least = timeOf(known, stepTerms(SPEC, native, [], 10));
          expect(timeOf(known, stepTerms(more, native, [], 10 + tokens))).toBeGreaterThanOrEqual(least);
        },
      ),
    );
  });
});
