import { describe, expect, it } from 'vitest';
import { normalQuantile } from './normal-quantile.ts';

describe('normalQuantile', () => {
  it.each([
    // The two densities in use, 8 % and 5 %, and the textbook's 1.96.
    [0.92, 1.4050715603096329],
    [0.95, 1.6448536269514722],
    [0.975, 1.959963984540054],
    [0.5, 0],
    [1e-6, -4.753424308822899],
  ])('of %f is %f', (p, z) => {
    expect(normalQuantile(p)).toBeCloseTo(z, 9);
  });

  it('is odd about one half', () => {
    for (const p of [0.01, 0.2, 0.4]) expect(normalQuantile(1 - p)).toBeCloseTo(-normalQuantile(p), 12);
  });

  it.each([0, 1, Number.NaN])('has no value at %f', (p) => {
    expect(() => normalQuantile(p)).toThrow(RangeError);
  });
});
