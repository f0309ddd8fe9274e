import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { wideValues } from '../src/core/wide-sums.ts';
import { addExactly, addSums, addWide, addWideSums, emptyWide } from './exact-sum.ts';

const terms = fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 40 });

describe('addExactly', () => {
  it('rounds each term once to its grid', () => {
    const sums = new Float64Array(2);
    // 0.3 * 4 = 1.2 -> 1 quarter; 0.4 * 4 = 1.6 -> 2 quarters.
    addExactly(sums, 0, [0.3, 0.4], 2);
    expect([...sums]).toEqual([0.25, 0.5]);
  });

  it('gives the same bits in every order and grouping', () => {
    fc.assert(
      fc.property(terms, fc.infiniteStream(fc.nat()), fc.nat(), (values, random, cut) => {
        const forward = new Float64Array(1);
        for (const term of values) addExactly(forward, 0, [term], 12);
        const shuffled = [...values]
          .map((term) => ({ term, key: random.next().value }))
          .sort((a, b) => a.key - b.key)
          .map(({ term }) => term);
        const [left, right] = [new Float64Array(1), new Float64Array(1)];
        shuffled.forEach((term, i) => {
          addExactly(i < cut % values.length ? left : right, 0, [term], 12);
        });
        const merged = addSums({ sum: { shape: [1], data: left } }, { sum: { shape: [1], data: right } });
        expect(Object.is(merged.sum.data[0] + 0, forward[0] + 0)).toBe(true);
      }),
    );
  });

  it('would not without the grid: 0.1 + 0.2 + 0.3 depends on the order', () => {
    expect(0.1 + 0.2 + 0.3).not.toBe(0.3 + 0.2 + 0.1);
    const [a, b] = [new Float64Array(1), new Float64Array(1)];
    for (const term of [0.1, 0.2, 0.3]) addExactly(a, 0, [term], 20);
    for (const term of [0.3, 0.2, 0.1]) addExactly(b, 0, [term], 20);
    expect(a[0]).toBe(b[0]);
  });

  it('refuses a sum that is too large to be exact, and one that is no number', () => {
    const sums = Float64Array.of(2 ** 41 - 1);
    expect(() => addExactly(sums, 0, [1], 12)).toThrowError(expect.objectContaining({ code: 'unsupported' }));
    expect(() => addExactly(sums, 0, [Number.NaN], 12)).toThrowError(expect.objectContaining({ code: 'non-finite' }));
    expect(() => addExactly(sums, 0, [Number.POSITIVE_INFINITY], 12)).toThrowError(
      expect.objectContaining({ code: 'non-finite' }),
    );
  });
});

describe('addSums', () => {
  const sums = (data: Uint32Array | Float64Array) => ({ part: { shape: [data.length], data } });

  it('keeps constants and refuses different ones', () => {
    const a = sums(Float64Array.of(1, 2));
    expect(addSums(a, sums(Float64Array.of(1, 2)), ['part']).part.data).toEqual(Float64Array.of(1, 2));
    expect(() => addSums(a, sums(Float64Array.of(1, 3)), ['part'])).toThrowError(
      expect.objectContaining({ code: 'mismatch' }),
    );
  });

  it('refuses a count that wraps around, and shapes that differ', () => {
    expect(() => addSums(sums(Uint32Array.of(2 ** 31)), sums(Uint32Array.of(2 ** 31)))).toThrowError(/4294967296/);
    expect(() => addSums(sums(Uint32Array.of(1)), sums(Uint32Array.of(1, 2)))).toThrowError(
      expect.objectContaining({ code: 'mismatch' }),
    );
  });
});

describe('wide sums', () => {
  // Twenty orders of magnitude: float64 cannot hold the sum of the largest and the smallest.
  const wideTerms = fc.array(
    fc.oneof(fc.double({ min: -1, max: 1, noNaN: true }), fc.double({ min: -1e17, max: 1e17, noNaN: true })),
    { minLength: 1, maxLength: 40 },
  );

  it('are multiples of 2^16 and the rest', () => {
    const { shape, data } = emptyWide([2]);
    expect(shape).toEqual([2, 2]);
    addWide(data as Float64Array, 0, [2 ** 40 + 1.5, 2 ** 16 - 1]);
    addWide(data as Float64Array, 1, [2]);
    expect([...data]).toEqual([2 ** 40, 2 ** 16, 1.5, 1]);
    expect([...wideValues(data as Float64Array)]).toEqual([2 ** 40 + 1.5, 2 ** 16 + 1]);
    // The rest lies around 0, so that sums that change their sign stay one number.
    const around = emptyWide([1]).data as Float64Array;
    for (const term of [2 ** 15 - 1, 1]) addWide(around, 0, [term]);
    expect([...around]).toEqual([2 ** 16, -(2 ** 15)]);
    addWide(around, 0, [-0.5]);
    expect([...around]).toEqual([0, 2 ** 15 - 0.5]);
  });

  it('are the sum itself, in every order and grouping', () => {
    fc.assert(
      fc.property(wideTerms, fc.infiniteStream(fc.nat()), fc.nat(), (values, random, cut) => {
        const exact = values.reduce((sum, term) => sum + BigInt(Math.round(term * 2 ** 24)), 0n);
        const shuffled = values
          .map((term) => ({ term, key: random.next().value }))
          .sort((a, b) => a.key - b.key)
          .map(({ term }) => term);
        const [left, right] = [new Float64Array(2), new Float64Array(2)];
        shuffled.forEach((term, i) => {
          addWide(i < cut % values.length ? left : right, 0, [term]);
        });
        const merged = addWideSums({ sum: { shape: [2, 1], data: left } }, { sum: { shape: [2, 1], data: right } });
        const [coarse, fine] = merged.sum.data;
        expect(BigInt(coarse) * 2n ** 24n + BigInt(fine * 2 ** 24)).toBe(exact);
        expect(Math.abs(coarse % 2 ** 16)).toBe(0);
        expect(fine).toBeGreaterThanOrEqual(-(2 ** 15));
        expect(fine).toBeLessThan(2 ** 15);
      }),
    );
  });

  it.each([Number.NaN, Infinity, 2 ** 70, -(2 ** 70)])('refuse %s', (term) => {
    // In the second sum, beside which the first stays 0.
    expect(() => addWide(new Float64Array(4), 1, [term])).toThrowError(/not a number|no longer exact/);
  });
});
