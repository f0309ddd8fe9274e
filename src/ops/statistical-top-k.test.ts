import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { calling, floats, numbers, runBody } from '../../test/run-body.ts';
import { expectWithin } from '../../test/within.ts';
import { MODES, type Mode } from '../core/choice.ts';
import { statisticalTopKBody, statisticalTopKNode } from './statistical-top-k.ts';
import { statisticalThreshold, statisticalTopKRow } from './testing/reference.ts';

const EPSILON = 2 ** -23;

async function topK(mode: Mode, quantile: number, data: readonly number[], dims: readonly number[]) {
  const call = { node: 'top_k', mode, quantile, inputs: { x: 'x' }, outputs: { y: 'y', kept: 'kept' } };
  return runBody({
    ...calling(statisticalTopKBody(mode), (opType) => statisticalTopKNode({ ...call, opType })),
    feeds: { x: floats(data, dims) },
    outputs: { y: 'float32', kept: 'int32' },
  });
}

describe('StatisticalTopK', () => {
  it('keeps what lies over mean + std * quantile', async () => {
    // Mean 3, population variance (4 + 1 + 0 + 1 + 4) / 5 = 2; with quantile 1 the cut is 3 + sqrt(2) = 4.414.
    const x = [1, 2, 3, 4, 5];
    const soft = await topK('soft', 1, x, [1, 1, 5]);
    expect(numbers(soft.kept)).toEqual([1]);
    expect(numbers(soft.y).slice(0, 4)).toEqual([0, 0, 0, 0]);
    expect(Number(soft.y.data[4])).toBeCloseTo(5 - 3 - Math.SQRT2, 6);
    const hard = await topK('hard', 1, x, [1, 1, 5]);
    expect(numbers(hard.y)).toEqual([0, 0, 0, 0, 5]);
  });

  it('keeps all of a row whose entries are equal, and none of it in soft mode', async () => {
    const hard = await topK('hard', 1.4, [2, 2, 2, 2], [1, 1, 4]);
    expect([numbers(hard.y), numbers(hard.kept)]).toEqual([[2, 2, 2, 2], [4]]);
    const soft = await topK('soft', 1.4, [2, 2, 2, 2], [1, 1, 4]);
    expect(numbers(soft.y)).toEqual([0, 0, 0, 0]);
  });

  it.each(MODES)('agrees with the plain loops row by row: %s', async (mode) => {
    const rows = fc.array(fc.array(fc.float({ min: -8, max: 8, noNaN: true }), { minLength: 16, maxLength: 16 }), {
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(rows, fc.float({ min: Math.fround(-0.5), max: 2, noNaN: true }), async (x, quantile) => {
        // Sums of 16 values up to 8: mean, variance and cut are off by at most 16 eps times their magnitude, 8.
        const tolerance = 16 * 4 * EPSILON * 8;
        const clear = x.every((row) => {
          const theta = statisticalThreshold(row, quantile);
          return row.every((entry) => Math.abs(entry - theta) > tolerance);
        });
        fc.pre(clear);
        const { y, kept } = await topK(mode, quantile, x.flat(), [1, x.length, 16]);
        const wanted = x.map((row) => statisticalTopKRow(row, quantile, mode));
        expect(numbers(kept)).toEqual(wanted.map((row) => row.kept));
        const entries = wanted.flatMap((row) => row.y);
        expectWithin(y.data, entries, tolerance);
      }),
      { numRuns: 8, seed: 1 },
    );
  });
});
