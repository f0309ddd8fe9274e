/** How many tokens it takes until what is measured on texts means something, and what is said where there are fewer. */
import { LacunaError } from '../../core/errors.ts';
import type { ModelSpec } from '../../core/model.ts';
import type { Progress } from '../../core/progress.ts';

export interface Wanted {
  /** What the tokens are for, as messages call it. */
  readonly purpose: string;
  /** Below this nothing can be said: refused. */
  readonly least: number;
  /** Below this it is said that more would be better. */
  readonly enough: number;
}

/** Two sequences: what is fitted to less holds for the subject of one passage. docs/calibration.md has figures of more and less. */
const LEAST_TOKENS = 1000;

/** From here on another text moves the share of neurons or blocks by less than half a point. */
const ENOUGH_TOKENS = 4096;

/** Statistics, from which plans are made and errors weighed. */
export const STATISTICS: Wanted = { purpose: 'Statistics', least: LEAST_TOKENS, enough: ENOUGH_TOKENS };

/** Rounding by texts. */
export const ROUNDING: Wanted = { purpose: 'Rounding by texts', least: LEAST_TOKENS, enough: ENOUGH_TOKENS };

/** The same for a model: the Gram matrix of n tokens says nothing of directions beyond n, so it wants as many as inputs are wide. */
export function wantedForRounding({ hiddenSize, intermediateSize }: ModelSpec): Wanted {
  return { ...ROUNDING, enough: Math.max(ROUNDING.enough, hiddenSize, intermediateSize) };
}

/** Scored tokens that figures are quoted from: enough for the third digit of a ratio. */
export const FIGURES_TOKENS = 20_000;

/** Windows that are scored at least: of one alone nobody can tell how far chance moves the figure. */
export const LEAST_WINDOWS = 2;

/** Throws `usage` for too few tokens, and notes where more would be better. */
export function checkTokens({ purpose, least, enough }: Wanted, tokens: number, progress?: Progress): void {
  if (tokens < least)
    throw new LacunaError('usage', `${purpose}: at least ${least} tokens are wanted, there are ${tokens}`, {
      hint: `Give more text, or more of it with --tokens; ${enough} tokens or more are better.`,
    });
  if (tokens < enough) progress?.note(`${purpose}: ${tokens} tokens are few, ${enough} or more are better.`);
}
