/** ffn-moments on inputs small enough to work out by hand. */
import { describe, expect, it } from 'vitest';
import { readFfnMoments, readFfnSample, SAMPLE_STEP } from '../src/core/ffn-moments.ts';
import type { Sums } from '../src/core/statistics.ts';
import { ffnMoments } from './ffn-moments.ts';
import { SPEC, seededFloats, squareOf } from './testing/double.ts';
import { NO_TAPS } from './testing/measure.ts';

/** The sums of sequences of these indices, `values` giving x, y and h of each, [tokens, hidden]. */
async function measured(
  hidden: number,
  sequences: readonly { index: number; tokens: number }[],
  values: (index: number) => Record<'ffn_in' | 'ffn_out' | 'ffn_residual', Float32Array>,
): Promise<Sums> {
  const spec = { ...SPEC, numHiddenLayers: 1, hiddenSize: hidden };
  const tokens = sequences.reduce((sum, one) => sum + one.tokens, 0);
  const sums = ffnMoments.empty({ spec, tokens, sequences });
  let firstToken = 0;
  for (const { index, tokens } of sequences) {
    const context = { spec, tokens, firstToken, downNorms: new Float64Array(0), square: squareOf };
    await ffnMoments.add(sums, 0, { ...NO_TAPS, ...values(index) }, context);
    firstToken += tokens;
  }
  return sums;
}

describe('ffn-moments', () => {
  // Streams of squares 4 and 1, less the 1e-6: factors of 1/4 and 1.
  const two = () =>
    measured(1, [{ index: 0, tokens: 2 }], () => ({
      ffn_in: Float32Array.of(1, 2),
      ffn_out: Float32Array.of(4, -2),
      ffn_residual: Float32Array.of(-2, 1),
    }));

  it('sums the products of x, y and 1, by the size of the stream after the block', async () => {
    const { meanX, meanY, xx, xy, square, variance } = readFfnMoments(await two(), 1);
    // The factors are off by 1e-6, and are float32.
    const near = (value: number) => expect.closeTo(value, 5);
    const [a, b] = [0.25 / 1.25, 1 / 1.25];
    expect([...meanX]).toEqual([near(a + 2 * b)]);
    expect([...meanY]).toEqual([near(4 * a - 2 * b)]);
    expect([...xx]).toEqual([near(a + 4 * b - (a + 2 * b) ** 2)]);
    expect([...xy]).toEqual([near(4 * a - 4 * b - (a + 2 * b) * (4 * a - 2 * b))]);
    expect(square).toEqual(near(16 * a + 4 * b));
    expect(variance).toEqual(near(16 * a + 4 * b - (4 * a - 2 * b) ** 2));
  });

  it('keeps each eighth token, from another position in each sequence', async () => {
    const sums = await measured(1, [{ index: 1, tokens: 10 }], () => ({
      ffn_in: Float32Array.from({ length: 10 }, (_, i) => i),
      ffn_out: Float32Array.from({ length: 10 }, (_, i) => 2 * i),
      ffn_residual: Float32Array.from({ length: 10 }, (_, i) => -i - 1),
    }));
    expect(SAMPLE_STEP).toBe(8);
    const { positions, x, y, factors } = readFfnSample(sums, 1);
    expect([[...positions], [...x], [...y]]).toEqual([
      [1, 9],
      [1, 9],
      [2, 18],
    ]);
    // h + y is 0 and 8. bfloat16 has 8 bits.
    expect([...factors]).toEqual([expect.closeTo(1e6, -4), expect.closeTo(1 / 64, 4)]);
  });

  it('merges shards in any order to the bits of the whole', async () => {
    const [hidden, tokens] = [3, 20];
    const values = (index: number) => ({
      ffn_in: seededFloats(index, tokens * hidden),
      ffn_out: seededFloats(10 + index, tokens * hidden),
      ffn_residual: seededFloats(20 + index, tokens * hidden),
    });
    const of = (...indices: number[]) =>
      measured(
        hidden,
        indices.map((index) => ({ index, tokens })),
        values,
      );
    const whole = await of(0, 1, 2, 3);
    const [even, odd] = [await of(0, 2), await of(1, 3)];
    expect(ffnMoments.merge(even, odd)).toEqual(whole);
    expect(ffnMoments.merge(odd, even)).toEqual(whole);
    expect(() => ffnMoments.merge(even, even)).toThrow('Sequence 0 is in both statistics, wanted disjoint shards');
    // The head is not measured.
    expect(ffnMoments.merge({}, {})).toEqual({});
  });

  it('reads no sums of no tokens, and none that are no numbers', async () => {
    const sums = await two();
    const none = { ...sums, moments: { ...sums.moments, data: new Float64Array(sums.moments.data.length) } };
    expect(() => readFfnMoments(none, 1)).toThrow('0 tokens, wanted more than 0');
    const infinite = { ...sums, sample: { ...sums.sample, data: new Uint16Array(3).fill(0x7f80) } };
    expect(() => readFfnSample(infinite, 1)).toThrow('values that are no numbers');
    expect(() => readFfnSample(sums, 2)).toThrow('wanted uint16 [1, 5]');
  });
});
