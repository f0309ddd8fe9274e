/** How many tokens a measurement on texts needs, and the messages for fewer. */
import { LacunaError } from '../../core/errors.ts';
import type { ModelSpec } from '../../core/model.ts';
import type { Progress } from '../../core/progress.ts';

export interface Wanted {
  /** The purpose of the tokens, as messages call it. */
  readonly purpose: string;
  /** With fewer, the measurement is refused. */
  readonly least: number;
  /** With fewer, a note recommends more. */
  readonly enough: number;
}

/** Two sequences: what is fitted to less holds only for the subject of one passage (docs/calibration.md). */
const LEAST_TOKENS = 1000;

/** From here on, another text moves the share of neurons or blocks by less than half a point. */
const ENOUGH_TOKENS = 4096;

/** Statistics, for plans and for weighing errors. */
export const STATISTICS: Wanted = { purpose: 'Statistics', least: LEAST_TOKENS, enough: ENOUGH_TOKENS };

/** Rounding by texts. */
export const ROUNDING: Wanted = { purpose: 'Rounding by texts', least: LEAST_TOKENS, enough: ENOUGH_TOKENS };

/** The same for a model: a Gram matrix of n tokens says nothing beyond n directions, so the widest input counts. */
export function wantedForRounding({ hiddenSize, intermediateSize }: ModelSpec): Wanted {
  return { ...ROUNDING, enough: Math.max(ROUNDING.enough, hiddenSize, intermediateSize) };
}

/** Scored tokens for figures that are quoted: enough for the third digit of a ratio. */
export const FIGURES_TOKENS = 20_000;

/** The minimum number of windows. One window does not show how far chance moves the figure. */
export const LEAST_WINDOWS = 2;

/** Throws `usage` for too few tokens, and recommends more in a note. */
export function checkTokens({ purpose, least, enough }: Wanted, tokens: number, progress?: Progress): void {
  if (tokens < least)
    throw new LacunaError('usage', `${purpose}: at least ${least} tokens are wanted, there are ${tokens}`, {
      hint: `Give more text, or more of it with --tokens; ${enough} tokens or more are better.`,
    });
  if (tokens < enough) progress?.note(`${purpose}: ${tokens} tokens are few, ${enough} or more are better.`);
}
