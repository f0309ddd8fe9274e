/** How many tokens a sequence needs before its cosines are those of the rest: FFN-SkipLLM's warm-up. */
import { cosineOfLevel, type Region, type SaturationTrace } from '../core/saturation.ts';

/** The paper's ablation: 25 to 30 warm-up tokens bring most of the gain. */
const PAPER_TOKENS = 25;
/** The paper: the first 5 to 10 % of the sequence length run whole. */
const LEAST_SHARE = 0.05;
const MOST_SHARE = 0.1;

/** Positions averaged against the noise of single ones. */
const WINDOW = 8;
/** Deviations of the settled half's windows that count as settled. */
const SETTLED_DEVIATIONS = 2;

/**
 * The first position whose window of 8 has a mean cosine within two deviations of the settled level, which is the mean
 * over the second half of the positions (as is the deviation, of its windows). Never fewer than the lesser of 25 and
 * 5 % of the sequence length, nor more than 10 % of it.
 */
export function findWarmUp(trace: SaturationTrace, region: Region, sequenceLength: number): number {
  const windows = windowMeans(positionProfile(trace, region));
  const settled = windows.slice(Math.floor(windows.length / 2));
  const mean = settled.reduce((sum, value) => sum + value, 0) / settled.length;
  const deviation = Math.sqrt(settled.reduce((sum, value) => sum + (value - mean) ** 2, 0) / settled.length);
  const first = windows.findIndex((value) => Math.abs(value - mean) <= SETTLED_DEVIATIONS * deviation);
  const least = Math.min(PAPER_TOKENS, Math.ceil(LEAST_SHARE * sequenceLength));
  const most = Math.ceil(MOST_SHARE * sequenceLength);
  return Math.min(most, Math.max(least, first < 0 ? most : first));
}

/** Mean cosine over the region's layers and all sequences, by position. */
export function positionProfile(trace: SaturationTrace, region: Region): number[] {
  const { tokens, levels, positions } = trace;
  const sums: number[] = [];
  const counts: number[] = [];
  for (let token = 0; token < tokens; token++) {
    const position = positions[token];
    for (let layer = region.start; layer < region.end; layer++) {
      sums[position] = (sums[position] ?? 0) + cosineOfLevel(levels[layer * tokens + token]);
      counts[position] = (counts[position] ?? 0) + 1;
    }
  }
  return sums.map((sum, position) => sum / counts[position]);
}

function windowMeans(profile: readonly number[]): number[] {
  const count = Math.max(1, profile.length - WINDOW + 1);
  return Array.from({ length: count }, (_, start) => {
    const window = profile.slice(start, start + WINDOW);
    return window.reduce((sum, value) => sum + value, 0) / window.length;
  });
}
