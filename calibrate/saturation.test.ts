/** saturation on inputs small enough to work out by hand. */
import { describe, expect, it } from 'vitest';
import { cosineOfLevel } from '../src/core/saturation.ts';
import { saturation } from './saturation.ts';
import { measure } from './testing/measure.ts';

describe('saturation', () => {
  // h = (3, 4). y = (0, 0) turns nothing: 1. y = (-3, -4) * 2 turns it round: -1. y = (-7, -1) gives (-4, 3): 0.
  const residual = Float32Array.of(3, 4, 3, 4, 3, 4);
  const added = Float32Array.of(0, 0, -6, -8, -7, -1);
  const sums = measure(saturation, { hidden: 2, tokens: 3 }, { ffn_residual: residual, ffn_out: added });

  it('keeps the angle between the residual stream before and after', () => {
    // acos(1), acos(-1), acos(0) in steps of pi / 65535: 0, 65535, 32767.5 -> 32768.
    expect([...sums.trace.data]).toEqual([0, 65535, 32768]);
    expect([...sums.length.data]).toEqual([3]);
  });

  it('summarises by the mean and quantiles of the cosine', () => {
    const { meanCosine, p05Cosine, medianCosine, p95Cosine } = saturation.finish(sums, 0);
    expect(meanCosine).toBeCloseTo(0, 4);
    expect([p05Cosine, p95Cosine]).toEqual([-1, 1]);
    expect(medianCosine).toBe(cosineOfLevel(32768));
  });

  it('takes as a quantile what that share of the tokens does not exceed', () => {
    const levels = Uint16Array.from({ length: 20 }, (_, i) => 1000 * i);
    const { p05Cosine, medianCosine, p95Cosine } = saturation.finish({ trace: { shape: [1, 20], data: levels } }, 0);
    // Of 20 angles the 1st, the 10th and the 19th; the larger the angle, the smaller its cosine.
    expect([p95Cosine, medianCosine, p05Cosine]).toEqual([0, 9000, 18000].map(cosineOfLevel));
  });

  it('takes the cosine of a zero vector as 0, which never skips', () => {
    const zero = measure(
      saturation,
      { hidden: 1, tokens: 1 },
      { ffn_residual: Float32Array.of(0), ffn_out: Float32Array.of(1) },
    );
    expect(zero.trace.data[0]).toBe(32768);
  });

  it('merges sequences by their index, whichever shard they come from', () => {
    const part = (indices: number[], levels: number[]) => ({
      trace: { shape: [1, levels.length], data: Uint16Array.from(levels) },
      sequence: { shape: [indices.length], data: Uint32Array.from(indices) },
      length: { shape: [indices.length], data: new Uint32Array(indices.length).fill(2) },
    });
    const [even, odd] = [part([0, 2], [1, 2, 5, 6]), part([1], [3, 4])];
    for (const merged of [saturation.merge(even, odd), saturation.merge(odd, even)]) {
      expect([...merged.trace.data]).toEqual([1, 2, 3, 4, 5, 6]);
      expect([...merged.sequence.data]).toEqual([0, 1, 2]);
    }
    expect(() => saturation.merge(even, part([2], [7, 8]))).toThrowError(/Sequence 2 is in both/);
  });
});
