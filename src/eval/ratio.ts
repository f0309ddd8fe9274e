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
export function ratioOf(differences: readonly number[], confidence: Confidence = '95 %'): Ratio {
  const { value: centre, error, bound } = spreadOf(differences, confidence);
  const value = Math.exp(centre);
  if (error === null) return { value, standardError: null, upperBound: null };
  // For the logarithm, because the windows' mean is a mean of logarithms.
  return { value, standardError: value * error, upperBound: value * Math.exp(bound) };
}

/** The mean, its standard error, and how far above it the true mean is at most, with this confidence. */
function spreadOf(windows: readonly number[], confidence: Confidence = '95 %') {
  const value = mean(windows);
  const degrees = windows.length - 1;
  if (degrees < 1) return { value, error: null, bound: 0 };
  const squares = windows.reduce((total, one) => total + (one - value) ** 2, 0);
  const error = Math.sqrt(squares / degrees / windows.length);
  return { value, error, bound: studentQuantile(degrees, confidence) * error };
}

/** The first model's perplexity over the second's, from their scores of the same windows. */
export function ratioOfScores(one: TextScores, other: TextScores): Ratio {
  return ratioOf(one.windows.map((window, index) => mean(window) - mean(other.windows[index])));
}

function mean(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0) / values.length;
}

/** The normal distribution's quantiles. */
const NORMAL = { '95 %': 1.6448536269514722, '99.9 %': 3.090232306167813 } as const;

/** That a bound holds. */
export type Confidence = keyof typeof NORMAL;

/**
 * Student's quantile: exact for 1 and 2 degrees, else by its expansion (Fisher and Cornish 1960). Of 95 %, that is off by 0.7 % with
 * 3 degrees, and by less beyond; of 99.9 %, by 3.5 % with 4 degrees, and by 0.5 % with 7.
 */
export function studentQuantile(degrees: number, confidence: Confidence = '95 %'): number {
  const z = NORMAL[confidence];
  const p = Number.parseFloat(confidence) / 100;
  if (degrees === 1) return Math.tan(Math.PI * (p - 0.5));
  if (degrees === 2) return (2 * p - 1) / Math.sqrt(2 * p * (1 - p));
  return (
    z +
    (z ** 3 + z) / (4 * degrees) +
    (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * degrees ** 2) +
    (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * degrees ** 3)
  );
}
