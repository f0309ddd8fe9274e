import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { score, scorePair } from './log-softmax.ts';

/** Logits of float32, exact or not, are exactly these doubles. */
const logs = (...probabilities: number[]) => Float32Array.from(probabilities, Math.log);

/** Float32 rounds a logit of magnitude below 2 by at most 2^-24. A result takes two logits. */
const ROUNDING = 2 * 2 ** -24;

describe('score', () => {
  it('is minus the logarithm of the probability', () => {
    const logits = logs(1 / 2, 1 / 4, 1 / 4);
    expect(Math.abs(score(logits, 0).nll - Math.log(2))).toBeLessThanOrEqual(ROUNDING);
    expect(Math.abs(score(logits, 1).nll - Math.log(4))).toBeLessThanOrEqual(ROUNDING);
    expect(score(logits, 1).top).toBe(0);
  });

  it('takes the first of equal words, and the middle one when it is largest', () => {
    expect(score(Float32Array.of(0, 5, 5), 0).top).toBe(1);
    expect(score(Float32Array.of(-3, -1, -2), 0).top).toBe(1);
  });

  it('neither overflows nor loses small words', () => {
    expect(score(Float32Array.of(1e30, 1e30), 0).nll).toBe(Math.log(2));
    expect(score(Float32Array.of(0, -200), 1).nll).toBe(200);
    const many = new Float32Array(262_144);
    expect(score(many, 5).nll).toBe(Math.log(262_144));
  });

  it('is NaN for logits with NaN', () => {
    expect(score(Float32Array.of(0, Number.NaN, 1), 0).nll).toBeNaN();
    expect(score(Float32Array.of(Number.NaN, 0), 1).nll).toBeNaN();
  });
});

describe('scorePair', () => {
  it('is the KL worked out by hand', () => {
    const { kl, baseline, model } = scorePair(logs(1 / 2, 1 / 4, 1 / 4), logs(1 / 4, 1 / 4, 1 / 2), 2);
    // 1/2 log 2 + 1/4 log 1 + 1/4 log 1/2
    expect(Math.abs(kl - Math.log(2) / 4)).toBeLessThanOrEqual(ROUNDING);
    expect([baseline.top, model.top]).toEqual([0, 2]);
    expect(Math.abs(baseline.nll - Math.log(4))).toBeLessThanOrEqual(ROUNDING);
    expect(Math.abs(model.nll - Math.log(2))).toBeLessThanOrEqual(ROUNDING);
  });

  it('is 0 for equal distributions, also when their logits differ by a constant', () => {
    expect(scorePair(Float32Array.of(1, 2, 3), Float32Array.of(1, 2, 3), 0).kl).toBe(0);
    expect(scorePair(Float32Array.of(1, 2, 3), Float32Array.of(5, 6, 7), 0).kl).toBeLessThan(1e-14);
  });

  it('equals the sum over the vocabulary, and both models score as they do alone', () => {
    const logits = fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 6, maxLength: 6 });
    fc.assert(
      fc.property(logits, logits, fc.integer({ min: 0, max: 5 }), (a, b, target) => {
        const dense = Float32Array.from(a, (value) => value / 64);
        const sparse = Float32Array.from(b, (value) => value / 64);
        const pair = scorePair(dense, sparse, target);
        let kl = 0;
        for (let word = 0; word < 6; word++) {
          const logP = -score(dense, word).nll;
          kl += Math.exp(logP) * (logP + score(sparse, word).nll);
        }
        // Logits are below 16: terms below 32 rounded to float64, six of them and a few operations each.
        expect(Math.abs(pair.kl - kl)).toBeLessThanOrEqual(64 * 32 * Number.EPSILON);
        expect(pair.baseline.nll).toBe(score(dense, target).nll);
        expect(pair.model).toEqual(score(sparse, target));
      }),
      { seed: 11, numRuns: 200 },
    );
  });
});
