/** input-moments on inputs small enough to work out by hand. */
import { describe, expect, it } from 'vitest';
import { inputMoments } from './input-moments.ts';
import { SPEC, squareOf } from './testing/double.ts';
import { NO_TAPS } from './testing/measure.ts';

describe('input-moments', () => {
  // One head of two; two tokens; hidden 2, one neuron.
  const spec = { ...SPEC, numHiddenLayers: 1, hiddenSize: 2, intermediateSize: 1, numAttentionHeads: 1, headDim: 2 };
  const context = { spec, tokens: 2, firstToken: 0, downNorms: Float64Array.of(1), square: squareOf };
  const sums = inputMoments.empty({ spec, tokens: 2, sequences: [{ index: 0, tokens: 2 }] });
  const taps = {
    attn_in: Float32Array.of(1, 2, 3, 4),
    attended: Float32Array.of(0, 1, 0, -1),
    ffn_in: Float32Array.of(0.5, 0, 0.5, 0),
    act: Float32Array.of(2, 0.1),
    up: Float32Array.of(-3, 10),
  };
  inputMoments.add(sums, 0, { ...NO_TAPS, ...taps }, context);
  inputMoments.addHead?.(sums, Float32Array.of(1, 1, -2, 3), context);

  it('sums the squares of each column', () => {
    // Each after zeros: no sum reaches 2^16.
    expect([...sums.attn_in.data]).toEqual([0, 0, 1 + 9, 4 + 16]);
    expect([...sums.attended.data]).toEqual([0, 0, 0, 2]);
    expect([...sums.ffn_in.data]).toEqual([0, 0, 0.5, 0]);
    // (2 * -3)^2 + (0.1 * 10)^2, where float32 makes 1 of the second product.
    expect([...sums.down_in.data]).toEqual([0, 36 + 1]);
    expect([...sums.head_in.data]).toEqual([0, 0, 1 + 4, 1 + 9]);
  });

  it('summarises by how far the largest column stands out', () => {
    expect(inputMoments.finish(sums, 0)).toEqual({
      attnInPeak: 20 / 15,
      attendedPeak: 2,
      ffnInPeak: 2,
      downInPeak: 1,
    });
  });
});
