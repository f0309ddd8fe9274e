import { describe, expect, it } from 'vitest';
import { cosineOfLevel, type Region, readTrace, type SaturationTrace } from '../core/saturation.ts';
import { normal, saturationOf, seeded, statisticsOf } from './testing/statistics.ts';
import { findWarmUp, positionProfiles } from './warm-up.ts';

const FACTS = { layers: 6, neurons: 2, sequences: 10, sequenceLength: 400 };
const REGION = { start: 1, end: 5 };

type Cosine = (layer: number, position: number) => number;

function traceOf(cosine: Cosine, facts = FACTS, noise = 0.002) {
  const next = seeded(5);
  const saturation = saturationOf(facts, (layer, position) => cosine(layer, position) + noise * normal(next));
  return readTrace(statisticsOf(facts, { saturation }));
}

/** Cosines that come to 0.95 from `gap` below or above, by a factor of e in so many tokens. */
const settling =
  (tokens: number, gap = 0.2): Cosine =>
  (_, position) =>
    0.95 - gap * Math.exp(-position / tokens);

describe('positionProfiles', () => {
  it('are the mean over sequences at each position, layer by layer', () => {
    const facts = { ...FACTS, sequences: 2, sequenceLength: 2 };
    const saturation = saturationOf(facts, (layer, position, sequence) => (layer + sequence) / 10 + position / 2);
    const profiles = positionProfiles(readTrace(statisticsOf(facts, { saturation })), REGION);
    expect(profiles).toHaveLength(4);
    profiles.forEach((profile, at) => {
      // Layer `at + 1` has (at + 1) / 10 and a tenth more; levels are steps of 0.00005.
      expect(profile[0]).toBeCloseTo((at + 1.5) / 10, 4);
      expect(profile[1]).toBeCloseTo((at + 1.5) / 10 + 0.5, 4);
    });
  });
});

/** The definition, in plain loops over tokens. */
function firstSettled({ layers: _, tokens, levels, positions }: SaturationTrace, { start, end }: Region): number {
  const length = Math.max(...positions) + 1;
  const unrest = new Array<number>(length).fill(0);
  for (let layer = start; layer < end; layer++) {
    const means = new Array<number>(length).fill(0);
    for (let token = 0; token < tokens; token++)
      means[positions[token]] += cosineOfLevel(levels[layer * tokens + token]) / FACTS.sequences;
    const settled = means.slice(length / 2);
    const mean = settled.reduce((a, b) => a + b) / settled.length;
    const variance = settled.reduce((a, b) => a + (b - mean) ** 2, 0) / settled.length;
    for (let position = 0; position < length; position++)
      unrest[position] += (means[position] - mean) ** 2 / variance / (end - start);
  }
  const windows = unrest.slice(7).map((_, at) => unrest.slice(at, at + 8).reduce((a, b) => a + b) / 8);
  const late = windows.slice(Math.floor(windows.length / 2));
  const mean = late.reduce((a, b) => a + b) / late.length;
  const variance = late.reduce((a, b) => a + (b - mean) ** 2, 0) / late.length;
  return windows.findIndex((value) => value <= mean + 2 * Math.sqrt(variance));
}

describe('findWarmUp', () => {
  const warmUpOf = (cosine: Cosine) => findWarmUp(traceOf(cosine), REGION);

  it('is where the cosines are within their noise', () => {
    // A mean of 10 sequences has a deviation of 0.002 / sqrt(10) = 0.00063. A window counts from the second half on where
    // the mean square of its gaps is some tenths of that one's square: where 0.2 exp(-p / t) is near 0.0004, p = 6 t.
    for (const tokens of [3, 6, 12]) {
      const { tokens: found, isSettled } = warmUpOf(settling(tokens));
      expect(isSettled).toBe(true);
      expect(found).toBe(firstSettled(traceOf(settling(tokens)), REGION));
      expect(found / tokens).toBeGreaterThan(5);
      expect(found / tokens).toBeLessThan(7);
    }
  });

  it('is nothing where cosines are alike from the first token on', () => {
    expect(warmUpOf(() => 0.95)).toEqual({ tokens: 0, isSettled: true });
    // To the last bit.
    const same = traceOf(() => cosineOfLevel(6000), FACTS, 0);
    expect(findWarmUp(same, REGION)).toEqual({ tokens: 0, isSettled: true });
  });

  it('does not let layers that come from above make up for those from below', () => {
    const one = warmUpOf(settling(6));
    const both = warmUpOf((layer, position) => settling(6, layer % 2 === 0 ? 0.04 : -0.04)(layer, position));
    expect(one.tokens).toBeGreaterThan(25);
    expect(both.tokens).toBeGreaterThan(15);
  });

  it('looks at the region alone', () => {
    const apart = (layer: number, position: number) => (layer === 2 ? settling(12) : () => 0.95)(layer, position);
    const trace = traceOf(apart);
    expect(findWarmUp(trace, { start: 3, end: 5 }).tokens).toBe(0);
    expect(findWarmUp(trace, { start: 2, end: 3 }).tokens).toBeGreaterThan(50);
  });

  it('is the definition for any curve and noise', () => {
    for (const noise of [0.0005, 0.004, 0.02])
      for (const gap of [0.01, 0.1, -0.04]) {
        const trace = traceOf(settling(9, gap), FACTS, noise);
        expect(findWarmUp(trace, REGION).tokens).toBe(firstSettled(trace, REGION));
      }
  });

  it('takes no layer to be known better than the levels of the trace', () => {
    // Layer 2 has one value, but for its first 60 positions, which are one level off; the others have noise.
    const next = seeded(3);
    const step = (position: number) => cosineOfLevel(position < 60 ? 6001 : 6000);
    const noisy = (layer: number, position: number) => (layer === 2 ? step(position) : 0.95 + 0.002 * normal(next));
    expect(findWarmUp(traceOf(noisy, FACTS, 0), REGION).tokens).toBeLessThan(5);
  });

  it('is half of the windows where nothing settles', () => {
    // Of 393 windows, the first 196 are not counted as settled.
    expect(warmUpOf((_, position) => 0.5 + position / 1000)).toEqual({ tokens: 196, isSettled: false });
  });

  it('is found in sequences shorter than a window', () => {
    const trace = traceOf(settling(1), { ...FACTS, sequenceLength: 5 });
    expect(findWarmUp(trace, REGION)).toEqual({ tokens: 0, isSettled: true });
  });
});
