/** gate-moments on inputs small enough to work out by hand. */
import { describe, expect, it } from 'vitest';
import { gateMoments } from './gate-moments.ts';
import { measure } from './testing/measure.ts';

describe('gate-moments', () => {
  it('sums moments of elements and of tokens', () => {
    // Token (1, 3): mean 2, population std 1. Token (-2, -2): mean -2, std 0.
    const sums = measure(gateMoments, { neurons: 2, tokens: 2 }, { gate: Float32Array.of(1, 3, -2, -2) });
    // elements 4, sum 0, squares 1 + 9 + 4 + 4 = 18, tokens 2, means 0, stds 1.
    expect([...sums.moments.data]).toEqual([4, 0, 18, 2, 0, 1]);
    const figures = gateMoments.finish(sums, 0);
    expect(figures.gateMean).toBe(0);
    expect(figures.gateStd).toBeCloseTo(Math.sqrt(18 / 4), 12);
    expect(figures.gateTokenStd).toBe(0.5);
  });

  it('takes deviations from the mean', () => {
    // Elements 1, 3, 5, 7: mean 4, squares 84 / 4 - 16 = 5. Tokens (1, 3) and (5, 7): deviations of 1.
    const sums = measure(gateMoments, { neurons: 2, tokens: 2 }, { gate: Float32Array.of(1, 3, 5, 7) });
    const { gateMean, gateStd, gateTokenStd } = gateMoments.finish(sums, 0);
    expect([gateMean, gateTokenStd]).toEqual([4, 1]);
    expect(gateStd).toBeCloseTo(Math.sqrt(5), 12);
    expect([sums.standardised.data[112], sums.standardised.data[144]]).toEqual([2, 2]);
  });

  it('counts gates that are all alike at their mean', () => {
    const sums = measure(gateMoments, { neurons: 3, tokens: 1 }, { gate: Float32Array.of(2, 2, 2) });
    expect(sums.standardised.data[128]).toBe(3);
    expect(gateMoments.finish(sums, 0)).toMatchObject({ gateStd: 0, gateTokenStd: 0 });
  });

  it('bins standardised and raw gates, the ends taking what is beyond', () => {
    // z = -1 and 1: bins (-1 + 8) * 16 = 112 and 144. Raw 1 and 3: (1 + 32) * 8 = 264 and 280.
    const sums = measure(gateMoments, { neurons: 2, tokens: 1 }, { gate: Float32Array.of(1, 3) });
    expect([sums.standardised.data[112], sums.standardised.data[144]]).toEqual([1, 1]);
    expect([sums.gate.data[264], sums.gate.data[280]]).toEqual([1, 1]);
    // Twice as far apart, 1 and 5 are as many deviations from their mean.
    const wider = measure(gateMoments, { neurons: 2, tokens: 1 }, { gate: Float32Array.of(1, 5) });
    expect([wider.standardised.data[112], wider.standardised.data[144]]).toEqual([1, 1]);
    const far = measure(gateMoments, { neurons: 2, tokens: 1 }, { gate: Float32Array.of(-1e6, 1e6) });
    expect([far.gate.data[0], far.gate.data[511]]).toEqual([1, 1]);
  });

  it('takes gates of one bin for evenly spread in it', () => {
    const sums = measure(gateMoments, { neurons: 4, tokens: 1 }, { gate: Float32Array.of(0.05, 0.05, 0.05, 0.05) });
    const { gateP05, gateMedian, gateP95 } = gateMoments.finish(sums, 0);
    for (const [got, share] of [
      [gateP05, 0.05],
      [gateMedian, 0.5],
      [gateP95, 0.95],
    ])
      expect(got).toBeCloseTo(share / 8, 12);
  });

  it('takes the end of the bin with which a share is reached', () => {
    const sums = measure(gateMoments, { neurons: 4, tokens: 1 }, { gate: Float32Array.of(0.05, 0.05, 3.05, 3.05) });
    expect(gateMoments.finish(sums, 0).gateMedian).toBe(1 / 8);
  });

  it('finds quantiles to the width of a bin', () => {
    const gate = Float32Array.from({ length: 1000 }, (_, i) => i / 100);
    const { gateP05, gateMedian, gateP95 } = gateMoments.finish(
      measure(gateMoments, { neurons: 1000, tokens: 1 }, { gate }),
      0,
    );
    // A bin of 1/8 holds 12 or 13 of them, evenly, so a straight line inside it is off by one of 1/100 at most.
    for (const [got, wanted] of [
      [gateP05, 0.5],
      [gateMedian, 5],
      [gateP95, 9.5],
    ])
      expect(Math.abs(got - wanted)).toBeLessThanOrEqual(1 / 100);
  });
});
