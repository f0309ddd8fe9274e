/** The texts that come with the package, used when no `--data` is given. */
import { fileURLToPath } from 'node:url';
import type { Io } from './io.ts';

/** `fit` for statistics, `choose` for thresholds, `test` for the figures: they share no document. */
export type TextRole = 'fit' | 'choose' | 'test';

export function defaultText(io: Io, role: TextRole): string {
  return fileURLToPath(new URL(`${role}.txt`, io.dataFolder));
}
