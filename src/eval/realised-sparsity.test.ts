import { describe, expect, it } from 'vitest';
import type { RuntimeTensor } from '../core/runner.ts';
import { countStep, sharesByToken } from './realised-sparsity.ts';

const SHAPE = { numHiddenLayers: 2, intermediateSize: 10 };
const kept = (...data: number[]): RuntimeTensor => ({
  dtype: 'int32',
  dims: [1, data.length],
  data: Int32Array.from(data),
});
const active = (...data: number[]): RuntimeTensor => ({
  dtype: 'bool',
  dims: [1, data.length],
  data: Uint8Array.from(data),
});

/** Three tokens: the second skips layer 1, in which the others compute 4 and 6 of 10 neurons. Layer 0 has no counts. */
const EXTRAS = { 'layers.1.kept': kept(4, 0, 6), 'layers.1.active': active(1, 0, 1) };

describe('what tokens computed', () => {
  it('gives each token its own shares', () => {
    expect(sharesByToken(EXTRAS, 3, SHAPE)).toEqual([
      { computed: 14 / 20, ran: 1 },
      { computed: 10 / 20, ran: 1 / 2 },
      { computed: 16 / 20, ran: 1 },
    ]);
  });

  it('adds up to what is counted by layer', () => {
    const { layers } = countStep(EXTRAS, 3, SHAPE);
    const shares = sharesByToken(EXTRAS, 3, SHAPE);
    const sum = (of: 'computed' | 'ran') => shares.reduce((total, share) => total + share[of], 0);
    expect(sum('computed')).toBeCloseTo(layers.reduce((total, layer) => total + layer.kept, 0) / 20, 12);
    expect(sum('ran')).toBeCloseTo(layers.reduce((total, layer) => total + layer.active, 0) / 2, 12);
  });

  it('of a block that chooses nothing is all where it runs', () => {
    expect(sharesByToken({ 'layers.1.active': active(1, 0) }, 2, SHAPE)).toEqual([
      { computed: 1, ran: 1 },
      { computed: 1 / 2, ran: 1 / 2 },
    ]);
  });

  it('is refused where the counts are of other tokens', () => {
    expect(() => sharesByToken(EXTRAS, 2, SHAPE)).toThrow('Expected 2 counts in layers.1.active');
  });
});
