/** kept-energy on inputs small enough to work out by hand, and against plain sorting or counting on larger ones. */
import { describe, expect, it } from 'vitest';
import { keptEnergy } from './kept-energy.ts';
import { seeded } from './testing/double.ts';
import { measure } from './testing/measure.ts';

describe('kept-energy', () => {
  it('keeps what the best neurons hold', () => {
    // Energies 16, 1, 2^2 = 4, 0 -> oracle at 0.5: 20 / 21. The gate ranks by act: 4, 1, 0.5, 0 -> 17 / 21 at 0.5.
    const act = Float32Array.of(4, 1, 0.5, 0);
    const up = Float32Array.of(1, 1, 4, 9);
    const sums = measure(keptEnergy, { neurons: 4, tokens: 1 }, { act, up });
    const half = sums.densities.data.indexOf(0.5);
    // Rounded to 2^-24.
    expect(Math.abs(sums.oracle.data[half] - 20 / 21)).toBeLessThanOrEqual(2 ** -25);
    expect(Math.abs(sums.gate.data[half] - 17 / 21)).toBeLessThanOrEqual(2 ** -25);
    expect(sums.oracle.data[sums.oracle.data.length - 1]).toBe(1);
  });

  it('is there for every twentieth of the neurons', () => {
    const { densities } = measure(keptEnergy, { neurons: 1, tokens: 0 }, {});
    expect([...densities.data].map((density) => Math.round(20 * density))).toEqual(
      Array.from({ length: 20 }, (_, i) => i + 1),
    );
  });

  it('weights by the down norm', () => {
    const act = Float32Array.of(1, 2);
    const up = Float32Array.of(1, 1);
    // Scores 1 * 10 and 2 * 1: the first neuron is the better; it holds 100 / 104.
    const sums = measure(keptEnergy, { neurons: 2, tokens: 1 }, { act, up }, Float64Array.of(10, 1));
    expect(Math.abs(sums.gate.data[sums.densities.data.indexOf(0.5)] - 100 / 104)).toBeLessThanOrEqual(2 ** -25);
  });

  it('agrees with sorting', () => {
    const neurons = 512;
    const tokens = 8;
    const next = seeded(3);
    // Cubes have heavy tails, as activations do.
    const act = Float32Array.from({ length: neurons * tokens }, () => next() ** 3);
    const up = Float32Array.from({ length: neurons * tokens }, () => next() ** 3);
    const norms = Float64Array.from({ length: neurons }, () => 1.5 + next());
    const sums = measure(keptEnergy, { neurons, tokens }, { act, up }, norms);
    sums.densities.data.forEach((density, d) => {
      const wanted = sortedShare(act, up, norms, tokens, Math.round(density * neurons));
      // Inside a bin energies differ by a factor of at most 1.25, and one bin holds a few per cent of the neurons.
      expect(Math.abs(sums.oracle.data[d] / tokens - wanted.oracle)).toBeLessThan(0.005);
      // The gate's bins hold neurons of all energies: the straight line is off by the luck of a few neurons of 512.
      expect(Math.abs(sums.gate.data[d] / tokens - wanted.gate)).toBeLessThan(0.02);
    });
  });

  it('takes a token without energy as kept whole', () => {
    const sums = measure(keptEnergy, { neurons: 2, tokens: 1 }, { act: new Float32Array(2), up: new Float32Array(2) });
    expect(sums.oracle.data.every((share) => share === 1)).toBe(true);
  });
});

function sortedShare(act: Float32Array, up: Float32Array, norms: Float64Array, tokens: number, keep: number) {
  const neurons = norms.length;
  const shares = { oracle: 0, gate: 0 };
  for (let token = 0; token < tokens; token++) {
    const rows = Array.from(norms, (norm, j) => {
      const i = token * neurons + j;
      return { energy: (act[i] * up[i] * norm) ** 2, score: Math.abs(act[i]) * norm };
    });
    const total = rows.reduce((sum, { energy }) => sum + energy, 0);
    const best = (key: 'energy' | 'score') =>
      rows
        .sort((a, b) => b[key] - a[key])
        .slice(0, keep)
        .reduce((sum, { energy }) => sum + energy, 0);
    shares.oracle += best('energy') / total / tokens;
    shares.gate += best('score') / total / tokens;
  }
  return shares;
}
