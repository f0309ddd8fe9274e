/** How many tokens it takes until what is measured on texts means something, and what is said where there are fewer. */
import { LacunaError } from '../core/errors.ts';
import type { ModelSpec } from '../core/model.ts';
import type { Progress } from '../core/progress.ts';

export interface Wanted {
  /** What the tokens are for, as messages call it. */
  readonly purpose: string;
  /** Below this nothing can be said: refused. */
  readonly least: number;
  /** Below this it is said that more would be better. */
  readonly enough: number;
}

/**
 * Statistics, from which plans are made. A thousand tokens, two sequences, are the first from which a share of neurons holds on
 * other texts to a few points; four thousand give it to about one (docs/calibration.md has the figures).
 */
export const STATISTICS: Wanted = { purpose: 'Statistics', least: 1000, enough: 4096 };

/**
 * Rounding by texts. The Gram matrix of n tokens says nothing of the directions beyond n, so it wants as many as its inputs are
 * wide; fewer than a thousand are one or two passages, whose errors rounding would make up for at the price of all other text.
 */
export function roundingTokens({ hiddenSize, intermediateSize }: ModelSpec): Wanted {
  return { purpose: 'Rounding by texts', least: 1000, enough: Math.max(4096, hiddenSize, intermediateSize) };
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
