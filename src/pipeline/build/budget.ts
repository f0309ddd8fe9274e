/**
 * What a quality budget means: a limit for the perplexity ratio to the checkpoint's floats, with its error, in every
 * mode.
 */
import { invalidArgument } from '../../core/errors.ts';
import type { Comparison } from '../../eval/index.ts';

export interface BudgetCheck {
  readonly maxPplRatio: number;
  /** The largest upper bound of all modes' ratios to the floats. */
  readonly upperBound: number;
  readonly passed: boolean;
}

/** Throws `usage` for a budget below 1, which no model could keep. */
export function checkMaxPplRatio(maxPplRatio: number | undefined): void {
  if (maxPplRatio === undefined || (maxPplRatio >= 1 && maxPplRatio < Number.POSITIVE_INFINITY)) return;
  throw invalidArgument('maxPplRatio', 'a ratio of at least 1, as 1.02, or 2% on the command line', maxPplRatio);
}

/**
 * Whether every mode's upper bound is within the budget; undefined without a budget. `modes` are against the floats.
 */
export function judgeBudget(modes: readonly Comparison[], maxPplRatio: number | undefined): BudgetCheck | undefined {
  if (maxPplRatio === undefined) return undefined;
  const bounds = modes.map(({ perplexityRatio: { value, upperBound } }) => upperBound ?? value);
  const upperBound = Math.max(...bounds);
  return { maxPplRatio, upperBound, passed: upperBound <= maxPplRatio };
}
