/** product-scores on inputs small enough to work out by hand, and against plain counting on larger ones. */
import { describe, expect, it } from 'vitest';
import { productScores } from './product-scores.ts';
import { seeded } from './testing/double.ts';
import { measure } from './testing/measure.ts';

const RESOLUTION = 2 ** -30;

/** The bins that hold something, by their lower edge. */
function filled({ edges, ...sums }: ReturnType<typeof measure>, name: string): Record<string, number> {
  const entries = Array.from(sums[name].data).map((value, bin) => [bin === 0 ? 0 : edges.data[bin - 1], value]);
  return Object.fromEntries(entries.filter(([, value]) => value !== 0));
}

describe('product-scores', () => {
  // Scores 2 * 3 * 1 = 6 and 1 * 1 * 2 = 2, so 1.5 and 0.5 of their mean 4.
  const act = Float32Array.of(2, -1);
  const up = Float32Array.of(-3, 1);
  const norms = Float64Array.of(1, 2);
  const size = { hidden: 2, neurons: 2, tokens: 1 };
  // The stream with the block is (0, 5), the block (3, 4): their squared lengths are both 25.
  const stream = { ffn_residual: Float32Array.of(-3, 1), ffn_out: Float32Array.of(3, 4) };

  it('counts scores, and scores over the mean of the token, in bins of a sixteenth of an octave', () => {
    const sums = measure(productScores, size, { act, up, ...stream }, norms);
    expect(filled(sums, 'absolute')).toEqual({ 2: 1, 6: 1 });
    expect(filled(sums, 'mean')).toEqual({ 0.5: 1, 1.5: 1 });
    expect([...sums.edges.data].filter((edge) => edge >= 1 && edge < 2)).toHaveLength(16);
    expect(sums.count.data[0]).toBe(1);
  });

  it('weighs what scores add by the stream with it', () => {
    // The stream with the block is (0, 10), and what the block adds is what down gives: squared scores over 100.
    const taps = { act, up, ...stream, ffn_residual: Float32Array.of(-3, 6) };
    const energies = filled(measure(productScores, size, taps, norms), 'absolute_energy');
    expect(Math.abs(energies[2] - 4 / 100)).toBeLessThanOrEqual(RESOLUTION / 2);
    expect(Math.abs(energies[6] - 36 / 100)).toBeLessThanOrEqual(RESOLUTION / 2);
  });

  it('weighs no token more than its whole stream', () => {
    // 36 and 4 over 25 are more than 1: their sum is 40.
    const energies = filled(measure(productScores, size, { act, up, ...stream }, norms), 'absolute_energy');
    expect(Math.abs(energies[2] - 0.1)).toBeLessThanOrEqual(RESOLUTION / 2);
    expect(Math.abs(energies[6] - 0.9)).toBeLessThanOrEqual(RESOLUTION / 2);
  });

  it('weighs them as shares of what the FFN gives, where a norm follows it', () => {
    // A norm made (3, 4) of (6, 8): a score is a hundredth of that, times the block's 25 over the stream's 25.
    const taps = { act, up, ...stream, down: Float32Array.of(6, 8) };
    const energies = filled(measure(productScores, size, taps, norms), 'mean_energy');
    expect(Math.abs(energies[0.5] - 4 / 100)).toBeLessThanOrEqual(RESOLUTION / 2);
    expect(Math.abs(energies[1.5] - 36 / 100)).toBeLessThanOrEqual(RESOLUTION / 2);
  });

  it('summarises by what the lower half of the neurons adds to the stream', () => {
    // Of two neurons, the one with score 2: 4 / 100 of the stream, as above, by token; a token of zeros loses nothing.
    const taps = {
      act: Float32Array.of(2, -1, 0, 0, 0, 0),
      up: Float32Array.of(-3, 1, 0, 0, 0, 0),
      ffn_residual: Float32Array.of(-3, 6, 1, 0, 1, 0),
      ffn_out: Float32Array.of(3, 4, 0, 0, 0, 0),
    };
    const one = measure(
      productScores,
      { ...size, tokens: 1 },
      { act, up, ...stream, ffn_residual: taps.ffn_residual.slice(0, 2) },
      norms,
    );
    expect(Math.abs(productScores.finish(one, 0).streamLostAtHalf - 4 / 100)).toBeLessThanOrEqual(RESOLUTION / 2);
    // The lower half of six scores are zeros.
    const three = measure(productScores, { ...size, tokens: 3 }, taps, norms);
    expect(productScores.finish(three, 0).streamLostAtHalf).toBe(0);
  });

  it('counts zeros, and what is outside of all edges, at the ends', () => {
    const none = measure(productScores, size, { act: new Float32Array(2), up, ...stream }, norms);
    expect(filled(none, 'absolute')).toEqual({ 0: 2 });
    expect(filled(none, 'mean')).toEqual({ 0: 2 });
    const huge = measure(productScores, size, { act: Float32Array.of(2 ** 20, 2 ** -40), up, ...stream }, norms);
    expect(filled(huge, 'absolute')).toEqual({ 0: 1, 65536: 1 });
    const still = measure(productScores, size, {
      act,
      up,
      ffn_residual: new Float32Array(2),
      ffn_out: new Float32Array(2),
    });
    expect(filled(still, 'absolute_energy')).toEqual({});
  });

  it('agrees with plain counting', () => {
    const [neurons, tokens, hidden] = [64, 9, 8];
    const next = seeded(5);
    const values = (count: number) => Float32Array.from({ length: count }, () => next() ** 3);
    const [acts, ups] = [values(neurons * tokens), values(neurons * tokens)];
    const [residual, added] = [values(hidden * tokens), values(hidden * tokens)];
    const weights = Float64Array.from({ length: neurons }, () => Math.fround(1.5 + next()));
    const taps = { act: acts, up: ups, ffn_residual: residual, ffn_out: added };
    const sums = measure(productScores, { hidden, neurons, tokens }, taps, weights);
    const scores = Array.from(acts, (x, i) => Math.abs(x * ups[i]) * weights[i % neurons]);
    const meanOf = (token: number) =>
      scores.slice(token * neurons, (token + 1) * neurons).reduce((sum, x) => sum + x, 0) / neurons;
    const atLeast = (name: string, limit: number) =>
      Object.entries(filled(sums, name)).reduce((sum, [edge, count]) => sum + (Number(edge) >= limit ? count : 0), 0);
    for (const limit of [0.0625, 0.25, 1]) {
      expect(atLeast('absolute', limit)).toBe(scores.filter((score) => score >= limit).length);
      const relative = scores.filter((score, i) => score / meanOf(Math.floor(i / neurons)) >= limit).length;
      expect(atLeast('mean', limit)).toBe(relative);
    }
    const squared = (token: number) =>
      Array.from({ length: hidden }, (_, i) => (residual[token * hidden + i] + added[token * hidden + i]) ** 2).reduce(
        (sum, x) => sum + x,
        0,
      );
    const energyOf = (token: number) =>
      Math.min(
        1,
        scores
          .slice(token * neurons, (token + 1) * neurons)
          .reduce((sum, score) => sum + score ** 2 / squared(token), 0),
      );
    const energy = Array.from({ length: tokens }, (_, token) => energyOf(token)).reduce((sum, x) => sum + x, 0);
    const summed = Array.from(sums.mean_energy.data).reduce((sum, x) => sum + x, 0);
    // Each bin is rounded; scores are products of float32 numbers, rounded twice.
    expect(Math.abs(summed - energy)).toBeLessThan((sums.edges.data.length / 2) * RESOLUTION + energy * 2 ** -21);
  });
});
