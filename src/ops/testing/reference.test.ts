/** The plain loops against numbers worked out by hand or taken from tables: bodies and kernels are held against the loops. */
import { describe, expect, it } from 'vitest';
import {
  activationOf,
  neuronScores,
  saturationOf,
  skipStart,
  skipStep,
  statisticalThreshold,
  statisticalTopKRow,
} from './reference.ts';

describe('activations', () => {
  it.each([
    ['silu', 1, 0.7310585786300049],
    ['silu', -2, -0.2384058440442351],
    // x Phi(x), of the tables of the normal distribution.
    ['gelu', 1, 0.8413447460685429],
    ['gelu', -2, -0.0455002638963584],
    ['gelu', 9, 9],
    ['gelu_tanh', 1, 0.8411919906082768],
    ['gelu_tanh', -2, -0.04540230591222381],
    ['relu', 1.5, 1.5],
    ['relu', -1.5, 0],
  ] as const)('%s of %f is %f', (activation, x, y) => {
    expect(activationOf(activation, x)).toBeCloseTo(y, 12);
  });
});

describe('the statistical cut', () => {
  // Mean 4, squares of deviations 9 + 1 + 1 + 9, of which the population's mean is 5.
  const row = [1, 3, 5, 7];

  it('is mean + std * quantile, of the population', () => {
    expect(statisticalThreshold(row, 0)).toBe(4);
    expect(statisticalThreshold(row, 2)).toBeCloseTo(4 + 2 * Math.sqrt(5), 12);
    expect(statisticalThreshold(row, -1)).toBeCloseTo(4 - Math.sqrt(5), 12);
  });

  it('keeps what is above, less the cut or as it is', () => {
    expect(statisticalTopKRow(row, 0, 'soft')).toEqual({ y: [0, 0, 1, 3], kept: 2 });
    expect(statisticalTopKRow(row, 0, 'hard')).toEqual({ y: [0, 0, 5, 7], kept: 2 });
    // What lies on the cut is kept.
    expect(statisticalTopKRow([2, 2], 1, 'hard')).toEqual({ y: [2, 2], kept: 2 });
    expect(statisticalTopKRow([-3, -1], 0, 'hard')).toEqual({ y: [0, -1], kept: 1 });
    expect(statisticalTopKRow([-3, -1], 0, 'soft')).toEqual({ y: [0, 1], kept: 1 });
  });
});

it('a score is the size of a measure times its weight', () => {
  expect(neuronScores([-2, 3, 0], [0.5, 2, 7])).toEqual([1, 6, 0]);
});

describe('saturation', () => {
  it('is the cosine of the stream before and after', () => {
    expect(saturationOf([3, 4], [0, 0])).toBeCloseTo(1, 12);
    expect(saturationOf([3, 4], [-7, -1])).toBeCloseTo(0, 12);
    expect(saturationOf([3, 4], [-6, -8])).toBeCloseTo(-1, 12);
    // (1, 0) to (1, 1).
    expect(saturationOf([1, 0], [0, 1])).toBeCloseTo(Math.SQRT1_2, 12);
  });

  it('is 0 where either is a zero vector', () => {
    expect(saturationOf([0, 0], [1, 2])).toBe(0);
    expect(saturationOf([1, 2], [-1, -2])).toBe(0);
  });
});

describe('skipping', () => {
  it('begins after the warm-up', () => {
    expect([0, 2, 3, 4].map((position) => skipStart(position, 3))).toEqual([-1, -1, 0, 0]);
  });

  it.each([
    // State, cosine, whether it arms again, the state after.
    ['armed, and saturated', 0, 0.95, true, 4],
    ['armed, and just saturated', 0, 0.9, true, 4],
    ['armed, but not saturated', 0, 0.89, true, 0],
    ['in a run', 3, 0, true, 2],
    ['in a run, whatever the cosine', 2, 1, true, 1],
    ['at the end of a run', 1, 1, true, 0],
    ['at the end of its one run', 1, 1, false, -1],
    ['in its one run', 2, 1, false, 1],
    ['never to skip', -1, 1, true, -1],
  ])('goes on from a token that is %s', (_, state, cosine, reArm, after) => {
    expect(skipStep(state, cosine, { runLength: 4, reArm, threshold: 0.9 })).toBe(after);
  });
});
