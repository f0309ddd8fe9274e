/** activation-histogram on inputs small enough to work out by hand, and against plain sorting or counting on larger ones. */
import { describe, expect, it } from 'vitest';
import { activationHistogram } from './activation-histogram.ts';
import { seededFloats } from './testing/double.ts';
import { measure } from './testing/measure.ts';

describe('activation-histogram', () => {
  it('counts by the edges it states', () => {
    const edges = measure(activationHistogram, { neurons: 1, tokens: 0 }, {}).edges.data;
    expect(edges[0]).toBe(2 ** -18);
    expect(edges[edges.length - 1]).toBe(2 ** 10);
    const values = [...seededFloats(7, 500)].flatMap((x) => [x, x * 1e-4, x * 2000, 0]);
    // Exactly on an edge, and the float just below it.
    values.push(1.25, -1.25, 1.2499999, 2 ** -18, 2 ** 10, 2 ** 30, 1e-30);
    const { counts } = measure(
      activationHistogram,
      { neurons: 1, tokens: values.length },
      { act: Float32Array.from(values) },
    );
    const wanted = new Uint32Array(edges.length + 1);
    for (const value of values) wanted[edges.filter((edge) => edge <= Math.abs(Math.fround(value))).length] += 1;
    expect([...counts.data]).toEqual([...wanted]);
  });

  it('summarises by the edge below which half of all neurons\u2019 activations lie', () => {
    const medianOf = (...act: number[]) =>
      activationHistogram.finish(
        measure(activationHistogram, { neurons: 2, tokens: act.length / 2 }, { act: Float32Array.from(act) }),
        0,
      ).medianAbsAct;
    // In [1, 1.25), [1.25, 1.5), [4, 5) and [8, 10): two of the four lie below 1.5.
    expect(medianOf(1.1, -4, 1.3, 8)).toBe(1.5);
    // Three of five, and one of each pair.
    expect(medianOf(0.1, 0.1, 4, 4, 8, 8)).toBe(5);
    expect(medianOf(2 ** 12, 2 ** 12)).toBe(2 ** 10);
    expect(medianOf(0, 0)).toBe(2 ** -18);
  });

  it('keeps neurons apart', () => {
    const { counts } = measure(activationHistogram, { neurons: 2, tokens: 2 }, { act: Float32Array.of(1, 2, 1, 0) });
    const bins = counts.shape[1];
    // 1 = 2^0 is the 73rd edge (18 octaves of 4), so bin 73; 2 is 4 bins on.
    expect(counts.data[73]).toBe(2);
    expect([counts.data[bins], counts.data[bins + 77]]).toEqual([1, 1]);
  });
});
