/** The ratio of two perplexities on the same tokens, with its error from this number of windows. */
import type { TextScores } from './perplexity.ts';

export interface Ratio {
  readonly value: number;
  /** null with a single window. */
  readonly standardError: number | null;
  /** With a confidence of 95 % the ratio is below this; null with a single window. */
  readonly upperBound: number | null;
}

/** A mean over windows of equally many tokens; with a confidence of 95 % it is below `upperBound`, null with a single window. */
export interface BoundedMean {
  readonly value: number;
  readonly upperBound: number | null;
}

/** With Student's bound. */
export function boundedMean(windows: readonly number[]): BoundedMean {
  const { value, error, bound } = spreadOf(windows);
  return { value, upperBound: error === null ? null : value + bound };
}

/** exp of the mean difference in negative log-likelihood, over windows of equally many tokens, with Student's bound. */
export function ratioOf(differences: readonly number[]): Ratio {
  const { value: centre, error, bound } = spreadOf(differences);
  const value = Math.exp(centre);
  if (error === null) return { value, standardError: null, upperBound: null };
  // For the logarithm, because the windows' mean is a mean of logarithms.
  return { value, standardError: value * error, upperBound: value * Math.exp(bound) };
}

/** The mean, its standard error, and how far above it the true mean is with a confidence of 5 %. */
function spreadOf(windows: readonly number[]) {
  const value = mean(windows);
  const degrees = windows.length - 1;
  if (degrees < 1) return { value, error: null, bound: 0 };
  const squares = windows.reduce((total, one) => total + (one - value) ** 2, 0);
  const error = Math.sqrt(squares / degrees / windows.length);
  return { value, error, bound: studentQuantile(degrees) * error };
}

/** The first model's perplexity over the second's, from their scores of the same windows. */
export function ratioOfScores(one: TextScores, other: TextScores): Ratio {
  return ratioOf(one.windows.map((window, index) => mean(window) - mean(other.windows[index])));
}

function mean(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0) / values.length;
}

/** The normal distribution's quantile of 95 %. */
const NORMAL_95 = 1.6448536269514722;

/** Student's quantile of 95 %: exact for 1 and 2 degrees, else by its expansion (Fisher and Cornish 1960). */
export function studentQuantile(degrees: number): number {
  if (degrees === 1) return Math.tan(Math.PI * 0.45);
  if (degrees === 2) return 0.9 / Math.sqrt(2 * 0.95 * 0.05);
  const z = NORMAL_95;
  return (
    z +
    (z ** 3 + z) / (4 * degrees) +
    (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * degrees ** 2) +
    (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * degrees ** 3)
  );
}
