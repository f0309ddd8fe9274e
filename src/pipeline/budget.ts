/** What a quality budget means: the perplexity ratio to the checkpoint's floats, with its error, in every mode. */
import { invalidArgument, LacunaError } from '../core/errors.ts';
import type { Comparison } from '../eval/index.ts';

/** The precision that computes with the checkpoint's weights as they are. */
export const FLOATS = 'fp32';

export interface BudgetCheck {
  readonly maxPplRatio: number;
  /** The largest upper bound of all modes' ratios to the floats. */
  readonly upperBound: number;
  readonly passed: boolean;
}

/**
 * Refuses a budget that no model could keep, before anything starts. `windows` is how many the ratio will be measured on.
 *
 * @throws LacunaError `usage` below 1, and where a single window would leave the ratio without an error.
 */
export function checkMaxPplRatio(maxPplRatio: number | undefined): void {
  if (maxPplRatio === undefined || (maxPplRatio >= 1 && maxPplRatio < Number.POSITIVE_INFINITY)) return;
  throw invalidArgument('maxPplRatio', 'a ratio of at least 1, as 1.02, or 2% on the command line', maxPplRatio);
}

/** Windows that a budget is judged on: with one, nothing is known of the ratio's error. */
export function checkWindowsFor(maxPplRatio: number | undefined, windows: number): void {
  if (maxPplRatio === undefined || windows >= 2) return;
  throw new LacunaError('usage', 'A budget is judged by a ratio and its error, which one window of text cannot give', {
    hint: 'Score more tokens (--tokens), or give a longer text.',
  });
}

/** Whether every mode's upper bound keeps to the budget; undefined without one. `modes` are against the floats. */
export function judgeBudget(modes: readonly Comparison[], maxPplRatio: number | undefined): BudgetCheck | undefined {
  if (maxPplRatio === undefined) return undefined;
  const bounds = modes.map(({ perplexityRatio: { value, upperBound } }) => upperBound ?? value);
  const upperBound = Math.max(...bounds);
  return { maxPplRatio, upperBound, passed: upperBound <= maxPplRatio };
}
