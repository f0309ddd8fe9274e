/** What a quality budget means: the perplexity ratio to the checkpoint's floats, with its error, in every mode. */
import type { Comparison } from '../../eval/index.ts';

export interface BudgetCheck {
  readonly maxPplRatio: number;
  /** The largest upper bound of all modes' ratios to the floats. */
  readonly upperBound: number;
  readonly passed: boolean;
}

/** Whether every mode's upper bound keeps to the budget; undefined without one. `modes` are against the floats. */
export function judgeBudget(modes: readonly Comparison[], maxPplRatio: number | undefined): BudgetCheck | undefined {
  if (maxPplRatio === undefined) return undefined;
  const bounds = modes.map(({ perplexityRatio: { value, upperBound } }) => upperBound ?? value);
  const upperBound = Math.max(...bounds);
  return { maxPplRatio, upperBound, passed: upperBound <= maxPplRatio };
}
