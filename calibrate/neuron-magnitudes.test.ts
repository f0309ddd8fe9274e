/** neuron-magnitudes on inputs small enough to work out by hand. */
import { describe, expect, it } from 'vitest';
import { neuronMagnitudes } from './neuron-magnitudes.ts';
import { measure } from './testing/measure.ts';

describe('neuron-magnitudes', () => {
  it('sums |up| for each neuron and keeps the norms', () => {
    const sums = measure(
      neuronMagnitudes,
      { neurons: 2, tokens: 2 },
      { up: Float32Array.of(1, -2, -3, 4) },
      Float64Array.of(5, 7),
    );
    expect([...sums.up_abs.data]).toEqual([4, 6]);
    expect([...sums.down_norm.data]).toEqual([5, 7]);
    // (4 + 6) / 2 neurons / 2 tokens.
    expect(neuronMagnitudes.finish(sums, 0)).toEqual({ meanAbsUp: 2.5, meanDownNorm: 6 });
  });
});
