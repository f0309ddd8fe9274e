import { describe, expect, it } from 'vitest';
import { allocate, errorCurve } from './replaced-tokens.ts';

const scored = (expected: number[], errors: number[], tokens = expected.length) => ({
  tokens,
  expected: Float64Array.from(expected),
  errors: Float64Array.from(errors),
});

describe('the curve of errors', () => {
  it('pools what does not grow', () => {
    const { steps, expected, most } = errorCurve(scored([3, 1, 2, 4], [2, 1, 5, 6], 5));
    // In the order of what is expected: 1, 5, 2, 6.
    expect(steps).toEqual([
      { error: 1, count: 1 },
      { error: 3.5, count: 2 },
      { error: 6, count: 1 },
    ]);
    expect([...expected]).toEqual([1, 2, 3, 4]);
    expect(most).toBe(0.8);
  });
});

describe('tokens that skip', () => {
  const candidates = [
    { layer: 2, curve: errorCurve(scored([10, 20, 30, 40], [1, 2, 8, 9])) },
    { layer: 5, curve: errorCurve(scored([1, 2, 3, 4], [3, 4, 5, 20])) },
  ];

  it('are those of the least error, in whichever layer', () => {
    // Errors 1, 2, 3 and 4: two tokens of four in each layer.
    expect(allocate(candidates, 1)).toEqual([
      { layer: 2, skipped: 0.5, threshold: 25, error: 1.5 },
      { layer: 5, skipped: 0.5, threshold: 2.5, error: 3.5 },
    ]);
    expect(allocate(candidates, 0.5)).toEqual([{ layer: 2, skipped: 0.5, threshold: 25, error: 1.5 }]);
  });

  it('are all where all are wanted, up to the last that was seen', () => {
    expect(allocate(candidates, 2)).toMatchObject([
      { skipped: 1, threshold: 40 },
      { skipped: 1, threshold: 4 },
    ]);
  });

  it('are refused where fewer are left', () => {
    expect(allocate(candidates, 2.5)).toBeUndefined();
    expect(allocate([], 1)).toBeUndefined();
  });
});
