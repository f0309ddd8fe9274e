/** How many tokens of a conversation come before its cosines are those of the rest: FFN-SkipLLM's warm-up. */
import { cosineOfLevel, FINEST_VARIANCE, type Region, type SaturationTrace } from '../core/saturation.ts';

export interface WarmUp {
  readonly tokens: number;
  /** Whether the cosines settle within the first half of the sequences. If not, `tokens` is that half. */
  readonly isSettled: boolean;
}

/** Positions averaged against the noise of single ones. */
const WINDOW = 8;
/** Deviations of the settled windows that count as settled. */
const SETTLED_DEVIATIONS = 2;

/**
 * The first position whose window of 8 is within two deviations of the windows of the second half of the positions, by
 * `unrest`. No share of the sequences and no number of tokens is given: the saturation curve and its noise decide.
 */
export function findWarmUp(trace: SaturationTrace, region: Region): WarmUp {
  const windows = windowMeans(unrest(positionProfiles(trace, region)));
  const half = Math.floor(windows.length / 2);
  const { mean, variance } = momentsOf(windows.slice(half));
  const first = windows.findIndex((value) => value <= mean + SETTLED_DEVIATIONS * Math.sqrt(variance));
  return { tokens: Math.min(first, half), isSettled: first <= half };
}

/**
 * How far a position's mean cosines are from those of the second half, which count as settled: mean over layers of
 * (cosine - settled mean)^2 / settled variance over positions. It is about 1 in the second half. Layers come from both
 * sides, some falling and some rising to their level, so their plain mean seems settled long before they are.
 */
function unrest(profiles: readonly (readonly number[])[]): number[] {
  const settled = profiles.map((profile) => momentsOf(profile.slice(Math.floor(profile.length / 2))));
  return profiles[0].map((_, position) => {
    const squares = settled.map(
      ({ mean, variance }, at) => (profiles[at][position] - mean) ** 2 / Math.max(FINEST_VARIANCE, variance),
    );
    return squares.reduce((sum, square) => sum + square, 0) / squares.length;
  });
}

/** Mean cosine over all sequences, by layer of the region and by position. */
export function positionProfiles(trace: SaturationTrace, region: Region): number[][] {
  const { tokens, levels, positions } = trace;
  return Array.from({ length: region.end - region.start }, (_, at) => {
    const row = (region.start + at) * tokens;
    const sums: number[] = [];
    const counts: number[] = [];
    for (let token = 0; token < tokens; token++) {
      const position = positions[token];
      sums[position] = (sums[position] ?? 0) + cosineOfLevel(levels[row + token]);
      counts[position] = (counts[position] ?? 0) + 1;
    }
    return sums.map((sum, position) => sum / counts[position]);
  });
}

function momentsOf(values: readonly number[]) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return { mean, variance };
}

function windowMeans(profile: readonly number[]): number[] {
  const count = Math.max(1, profile.length - WINDOW + 1);
  return Array.from({ length: count }, (_, start) => momentsOf(profile.slice(start, start + WINDOW)).mean);
}
