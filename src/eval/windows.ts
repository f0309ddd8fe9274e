/** Cuts a text's tokens into the windows that are scored. */
import { invalidArgument, LacunaError } from '../core/errors.ts';

export const WINDOW_TOKENS = 512;

/** The tokens of each window. */
export type Windows = readonly (readonly number[])[];

export interface WindowOptions {
  /** Tokens in a window, BOS included. */
  readonly length?: number;
  /** Put before each window's text, if the tokenizer prepends it. */
  readonly bosTokenId?: number | undefined;
}

/** Windows that do not overlap. A last part shorter than a window is dropped. Throws `usage` if no window is full. */
export function cutWindows(tokens: readonly number[], options: WindowOptions = {}): Windows {
  const { length = WINDOW_TOKENS, bosTokenId } = options;
  // Mode `decode` prefills half of a window, and the rest must have a token to score.
  if (!(Number.isInteger(length) && length >= 4)) throw invalidArgument('window', 'an integer of at least 4', length);
  const start = bosTokenId === undefined ? [] : [bosTokenId];
  const step = length - start.length;
  if (tokens.length < step)
    throw new LacunaError(
      'usage',
      `Expected a text of at least ${step} tokens, one window, but it has ${tokens.length}`,
      { hint: 'Give a longer text or a shorter window.' },
    );
  return Array.from({ length: Math.floor(tokens.length / step) }, (_, index) => [
    ...start,
    ...tokens.slice(index * step, (index + 1) * step),
  ]);
}
