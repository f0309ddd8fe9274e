import { expect, it } from 'vitest';
import type { Session } from '../core/session.ts';
import { divergenceFrom, drawTokens } from './drawn-tokens.ts';
import { scorePair } from './log-softmax.ts';

const VOCAB = 50;

/** Logits that a seed fixes, position by position; `noise` moves them. */
function sessionOf(noise: number, seed = 1): Session {
  const logitsAt = (row: number, token: number) =>
    3 * Math.sin(seed + 7.3 * row + 1.9 * token * token) + noise * Math.sin(3.1 * row + 5.7 * token);
  return {
    extraOutputs: [],
    emptyCache: () => ({ length: 0, tensors: {} }),
    step: async (tokens, cache) => {
      const rows = tokens.length;
      const logits = Float32Array.from({ length: rows * VOCAB }, (_, at) =>
        logitsAt(Math.floor(at / VOCAB), at % VOCAB),
      );
      return { logits, rows, vocab: VOCAB, cache, extras: {} };
    },
    close: async () => {},
  };
}

const WINDOWS = [0, 1].map((index) => Array.from({ length: 201 }, (_, at) => (at * 7 + index) % VOCAB));

it.each([0, 0.05, 0.3, 1])('tells the divergence of a model that differs by %d', async (noise) => {
  const [reference, model] = [sessionOf(0), sessionOf(noise)];
  const drawn = await drawTokens(reference, WINDOWS);
  const { kl, windows } = await divergenceFrom(drawn, model, WINDOWS);
  for (const [index, window] of WINDOWS.entries()) {
    const [exact, other] = await Promise.all(
      [reference, model].map((one) => one.step(window.slice(0, -1), one.emptyCache())),
    );
    const row = (logits: Float32Array, at: number) => logits.subarray(at * VOCAB, (at + 1) * VOCAB);
    const pairs = window.slice(1).map((target, at) => scorePair(row(exact.logits, at), row(other.logits, at), target));
    const mean = pairs.reduce((sum, pair) => sum + pair.kl, 0) / pairs.length;
    // 6,400 draws of terms that scatter about as widely as their mean: a standard error of about 1.3 %; four of them.
    expect(Math.abs(kl[index] - mean)).toBeLessThanOrEqual(0.052 * mean + 1e-12);
    for (const [at, pair] of pairs.entries()) {
      expect(drawn.windows[index][at]).toBeCloseTo(pair.baseline.nll, 10);
      expect(windows[index][at]).toBeCloseTo(pair.model.nll, 10);
    }
  }
});

it('draws each token as often as its probability says, whatever the other positions', async () => {
  const { draws } = await drawTokens(sessionOf(0), WINDOWS);
  const { logits } = await sessionOf(0).step(WINDOWS[0].slice(0, -1), { length: 0, tensors: {} });
  for (const [row, { tokens, logProbabilities }] of draws[0].entries()) {
    expect(tokens).toHaveLength(32);
    const values = logits.subarray(row * VOCAB, (row + 1) * VOCAB);
    const total = values.reduce((sum, value) => sum + Math.exp(value), 0);
    for (let token = 0; token < VOCAB; token++) {
      const probability = Math.exp(values[token]) / total;
      // Evenly spaced draws hit an interval within one of its share.
      expect(Math.abs(tokens.filter((one) => one === token).length - 32 * probability)).toBeLessThan(1.0001);
    }
    for (const [at, token] of tokens.entries())
      expect(logProbabilities[at]).toBeCloseTo(values[token] - Math.log(total), 5);
  }
});

it('refuses logits that are no numbers', async () => {
  const broken = {
    ...sessionOf(0),
    step: async () => ({
      ...(await sessionOf(0).step([1], sessionOf(0).emptyCache())),
      logits: new Float32Array(VOCAB).fill(Number.NaN),
    }),
  };
  await expect(drawTokens(broken, [[1, 2]])).rejects.toMatchObject({ code: 'non-finite' });
});
