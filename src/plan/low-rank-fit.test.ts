/** Maps that are known beforehand, found again from moments. */
import { describe, expect, it } from 'vitest';
import type { FfnMoments } from '../core/ffn-moments.ts';
import { fitLowRank, lowRankMap, smallestRank } from './low-rank-fit.ts';
import { normal, seeded } from './testing/statistics.ts';

const [HIDDEN, TOKENS] = [12, 2000];

/** Moments of made-up inputs and of what `of` makes of each. */
function momentsOf(of: (x: Float64Array) => Float64Array): FfnMoments & { inputs: Float64Array[] } {
  const next = seeded(3);
  const inputs = Array.from({ length: TOKENS }, () =>
    Float64Array.from({ length: HIDDEN }, (_, i) => i + normal(next)),
  );
  const outputs = inputs.map(of);
  const mean = (rows: Float64Array[]) =>
    Float64Array.from({ length: HIDDEN }, (_, i) => rows.reduce((sum, row) => sum + row[i], 0) / TOKENS);
  const [meanX, meanY] = [mean(inputs), mean(outputs)];
  const product = (a: Float64Array[], ma: Float64Array, b: Float64Array[], mb: Float64Array) =>
    Float64Array.from({ length: HIDDEN * HIDDEN }, (_, at) => {
      const [i, j] = [Math.floor(at / HIDDEN), at % HIDDEN];
      return a.reduce((sum, row, t) => sum + (row[i] - ma[i]) * (b[t][j] - mb[j]), 0) / TOKENS;
    });
  const yy = product(outputs, meanY, outputs, meanY);
  const variance = meanY.reduce((sum, _, i) => sum + yy[i * HIDDEN + i], 0);
  const [xx, xy] = [product(inputs, meanX, inputs, meanX), product(inputs, meanX, outputs, meanY)];
  return { hidden: HIDDEN, meanX, meanY, xx, xy, variance, square: variance, inputs };
}

function apply(moments: FfnMoments, rank: number, x: Float64Array): number[] {
  const fit = fitLowRank(moments, rank);
  const columns = fit.expand.length / HIDDEN;
  const z = Array.from({ length: rank }, (_, r) =>
    x.reduce((sum, value, i) => sum + fit.reduce[r * HIDDEN + i] * value, 0),
  );
  return Array.from(lowRankMap(fit, moments, rank).offset, (offset, i) =>
    z.reduce((sum, value, r) => sum + fit.expand[i * columns + r] * value, offset),
  );
}

/** 3 times the sum of x in the first entry, and x_2 - x_1 in the second; rank 2. */
const simple = (x: Float64Array) => {
  const y = new Float64Array(HIDDEN).fill(7);
  y[0] += 3 * x.reduce((sum, value) => sum + value, 0);
  y[1] += x[2] - x[1];
  return y;
};

describe('a map of low rank', () => {
  it('is found again, but for the ridge of a hundredth', () => {
    const moments = momentsOf(simple);
    for (const x of moments.inputs.slice(0, 5)) {
      const wanted = simple(x);
      const deviation = 0.02 * Math.sqrt(moments.variance);
      apply(moments, 2, x).forEach((value, i) => {
        expect(Math.abs(value - wanted[i])).toBeLessThan(deviation);
      });
    }
  });

  it('says what each rank explains: the larger part first, and nothing past the last', () => {
    const { explained } = fitLowRank(momentsOf(simple), 4);
    // Variances of 9 * 12 and of 2. The ridge takes a hundredth, and the sample is one of 2,000.
    expect(explained).toHaveLength(5);
    expect(explained[0]).toBe(0);
    expect(explained[1]).toBeGreaterThan(0.96);
    expect(explained[2] - explained[1]).toBeCloseTo(2 / 110, 2);
    expect(explained[4] - explained[2]).toBeLessThan(1e-9);
  });

  it('explains little of what no linear map gives', () => {
    // x less its mean, squared: its product with x has mean 0.
    const { explained } = fitLowRank(
      momentsOf((x) => x.map((value, i) => (value - i) ** 2)),
      HIDDEN,
    );
    expect(explained[HIDDEN]).toBeLessThan(0.05);
  });

  it('has directions of length 1 that are at right angles', () => {
    const { expand } = fitLowRank(
      momentsOf((x) => x.map((value, i) => (i + 1) * value)),
      5,
    );
    for (let a = 0; a < 5; a++)
      for (let b = 0; b < 5; b++) {
        let sum = 0;
        for (let i = 0; i < HIDDEN; i++) sum += expand[i * 5 + a] * expand[i * 5 + b];
        expect(sum).toBeCloseTo(a === b ? 1 : 0, 9);
      }
  });

  it('is refused for moments that are none', () => {
    const moments = momentsOf(simple);
    const broken = { ...moments, xx: moments.xx.map((value) => -value) };
    // A ridge is of the trace: of less than nothing it is 1.
    expect(() => fitLowRank({ ...broken, xx: broken.xx.map((value) => 10 * value) }, 2)).toThrow(
      'not positive definite',
    );
  });
});

describe('smallestRank', () => {
  // What ranks 0 to 6 explain: from 4 on, all leave 0.1 or little more.
  const explained = [0, 0.5, 0.8, 0.85, 0.8985, 0.899, 0.9];

  it('goes by what is left, not by what is explained', () => {
    expect(smallestRank(explained, 1)).toBe(4);
    // 0.98 of 0.9 is explained by rank 5 here, but a quarter more is left.
    expect(smallestRank([0, 0.5, 0.8, 0.85, 0.87, 0.885, 0.9], 1)).toBe(6);
  });

  it('takes multiples of the step, or the largest', () => {
    expect(smallestRank(explained, 3)).toBe(6);
    expect(smallestRank(explained, 5)).toBe(5);
    expect(smallestRank([0, 0.3, 1, 1, 1], 2)).toBe(2);
    expect(smallestRank([0, 0.5], 16)).toBe(1);
  });
});
