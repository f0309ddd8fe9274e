import { describe, expect, it } from 'vitest';
import type { SamplingOptions } from '../core/sampling.ts';
import { argmax, createSampler } from './sample.ts';

/** Probabilities 1/2, 1/4, 1/8, 1/8 in the order of tokens 2, 0, 3, 1. */
const LOGITS = Float32Array.of(Math.log(1 / 4), Math.log(1 / 8), Math.log(1 / 2), Math.log(1 / 8));

function frequencies(options: SamplingOptions, draws = 4000): number[] {
  const sample = createSampler({ temperature: 1, seed: 7, ...options });
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < draws; i++) counts[sample(LOGITS, [])]++;
  return counts.map((count) => count / draws);
}

/** Four standard deviations of a share p over n draws. The seed is fixed, so this never fails by chance. */
const within = (p: number, draws = 4000) => 4 * Math.sqrt((p * (1 - p)) / draws);

function expectShares(shares: readonly number[], expected: readonly number[]): void {
  expected.forEach((p, token) => {
    if (p === 0) expect(shares[token]).toBe(0);
    else expect(Math.abs(shares[token] - p)).toBeLessThanOrEqual(within(p));
  });
}

describe('createSampler', () => {
  it('takes the likeliest token by default, the first of equals', () => {
    expect(createSampler()(LOGITS, [])).toBe(2);
    expect(argmax(Float32Array.of(1, 3, 3))).toBe(1);
  });

  it('draws in proportion to the probabilities', () => {
    expectShares(frequencies({}), [1 / 4, 1 / 8, 1 / 2, 1 / 8]);
  });

  it('flattens them by temperature', () => {
    // p^(1/2) in proportion: 1/2, sqrt(1/8), sqrt(1/2), sqrt(1/8).
    const roots = [1 / 2, Math.sqrt(1 / 8), Math.sqrt(1 / 2), Math.sqrt(1 / 8)];
    const total = roots.reduce((sum, root) => sum + root);
    expectShares(
      frequencies({ temperature: 2 }),
      roots.map((root) => root / total),
    );
  });

  it('draws among the k likeliest; of equals, the first', () => {
    expectShares(frequencies({ topK: 2 }), [1 / 3, 0, 2 / 3, 0]);
    expectShares(frequencies({ topK: 3 }), [2 / 7, 1 / 7, 4 / 7, 0]);
    expectShares(frequencies({ topK: 99 }), [1 / 4, 1 / 8, 1 / 2, 1 / 8]);
  });

  it('draws among the fewest that hold top-p', () => {
    expectShares(frequencies({ topP: 0.4 }), [0, 0, 1, 0]);
    expectShares(frequencies({ topP: 0.7 }), [1 / 3, 0, 2 / 3, 0]);
    expectShares(frequencies({ topP: 0.8 }), [2 / 7, 1 / 7, 4 / 7, 0]);
    // Among the three likeliest, token 2 alone has 4/7.
    expectShares(frequencies({ topK: 3, topP: 0.55 }), [0, 0, 1, 0]);
  });

  it('finds the k largest of many', () => {
    // A permutation of 0 … 1008: 1009 is prime.
    const logits = Float32Array.from({ length: 1009 }, (_, i) => ((i * 387) % 1009) / 100);
    const sorted = [...logits.keys()].sort((a, b) => logits[b] - logits[a]).slice(0, 5);
    const sample = createSampler({ temperature: 10, topK: 5, seed: 1 });
    const drawn = new Set(Array.from({ length: 200 }, () => sample(logits, [])));
    expect(drawn).toEqual(new Set(sorted));
  });

  it('makes tokens seen before less likely, whatever the sign of their logits', () => {
    const sample = createSampler({ repetitionPenalty: 2 });
    const logits = Float32Array.of(3, 2, -1, -1.5);
    expect(sample(logits, [])).toBe(0);
    expect(sample(logits, [0, 0])).toBe(1); // 3 / 2 < 2: once, however often it was seen
    expect(sample(Float32Array.of(-1, -1.5), [0])).toBe(1); // -1 * 2 < -1.5
    expect([...logits]).toEqual([3, 2, -1, -1.5]);
  });

  it('repeats itself for a seed and differs between seeds', () => {
    const draw = (seed: number) => {
      const sample = createSampler({ temperature: 1, seed });
      return Array.from({ length: 40 }, () => sample(LOGITS, [])).join('');
    };
    expect(draw(3)).toBe(draw(3));
    expect(new Set([0, 1, 2, 3, -1, 2 ** 40].map(draw)).size).toBe(6);
  });
});
