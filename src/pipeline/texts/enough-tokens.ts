/** How many tokens a measurement on texts needs, and the messages for fewer. */
import { LacunaError } from '../../core/errors.ts';
import type { ModelSpec } from '../../core/model.ts';
import type { Progress } from '../../core/progress.ts';

export interface Wanted {
  /** The purpose of the tokens, as messages call it. */
  readonly purpose: string;
  /** With fewer, a note recommends more. */
  readonly enough: number;
}

/** Two sequences: what is fitted to less holds only for the subject of one passage (docs/calibration.md). */
const LEAST_TOKENS = 1000;

/** From here on, another text moves the share of neurons or blocks by less than half a point. */
const ENOUGH_TOKENS = 4096;

/** Statistics, for plans and for weighing errors. */
export const STATISTICS: Wanted = { purpose: 'Statistics', enough: ENOUGH_TOKENS };

/** Rounding by texts. */
export const ROUNDING: Wanted = { purpose: 'Rounding by texts', enough: ENOUGH_TOKENS };

/** The same for a model: a Gram matrix of n tokens says nothing beyond n directions, so the widest input counts. */
export function wantedForRounding({ hiddenSize, intermediateSize }: ModelSpec): Wanted {
  return { ...ROUNDING, enough: Math.max(ROUNDING.enough, hiddenSize, intermediateSize) };
}

/** Throws `usage` for too few tokens, and recommends more in a note. */
export function checkTokens({ purpose, enough }: Wanted, tokens: number, progress?: Progress): void {
  if (tokens < LEAST_TOKENS)
    throw new LacunaError('usage', `${purpose}: at least ${LEAST_TOKENS} tokens are wanted, there are ${tokens}`, {
      hint: `Give more text, or more of it with --tokens; ${enough} tokens or more are better.`,
    });
  if (tokens < enough) progress?.note(`${purpose}: ${tokens} tokens are few, ${enough} or more are better.`);
}
