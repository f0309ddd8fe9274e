import { describe, expect, it } from 'vitest';
import { expectedError, fitErrorGate } from './error-gate.ts';
import { normal, seeded } from './testing/statistics.ts';

const [HIDDEN, TOKENS] = [4, 400];

function inputs(): Float32Array {
  const next = seeded(5);
  return Float32Array.from({ length: TOKENS * HIDDEN }, (_, i) => (i % HIDDEN) + normal(next));
}

const row = (x: Float32Array, token: number) => x.subarray(token * HIDDEN, (token + 1) * HIDDEN);

/** Of two lists, how far one goes with the other: 1 where it rises by a line. */
function correlation(a: readonly number[], b: readonly number[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [ma, mb] = [mean(a), mean(b)];
  const sum = (f: (i: number) => number) => a.reduce((total, _, i) => total + f(i), 0);
  const both = sum((i) => (a[i] - ma) * (b[i] - mb));
  return both / Math.sqrt(sum((i) => (a[i] - ma) ** 2) * sum((i) => (b[i] - mb) ** 2));
}

describe('the error that is expected at an input', () => {
  it.each([
    ['by its direction', (x: Float32Array) => 0.5 + 0.01 * x[1]],
    ['by its distance', (x: Float32Array) => 0.1 + 0.02 * x.reduce((sum, value, i) => sum + (value - i) ** 2, 0)],
  ])('is found where it grows %s', async (_, errorAt) => {
    const x = inputs();
    const errors = Float64Array.from({ length: TOKENS }, (_, token) => errorAt(row(x, token)));
    const gate = await fitErrorGate(x, errors, HIDDEN);
    const expected = Array.from({ length: TOKENS }, (_, token) => expectedError(gate, row(x, token)));
    // The ridge draws all numbers to the mean alike, and what is above the 99 % quantile counts less.
    expect(correlation(expected, [...errors])).toBeGreaterThan(0.97);
    const mean = (values: ArrayLike<number>) => Array.from(values).reduce((sum, value) => sum + value, 0) / TOKENS;
    expect(mean(expected)).toBeCloseTo(mean(errors), 2);
  });

  it('is the mean where inputs say nothing, and does not follow a single token', async () => {
    const x = inputs();
    const errors = new Float64Array(TOKENS).fill(0.25);
    errors[7] = 1000;
    const gate = await fitErrorGate(x, errors, HIDDEN);
    for (const token of [0, 7, 100]) expect(expectedError(gate, row(x, token))).toBeCloseTo(0.25, 6);
  });
});
