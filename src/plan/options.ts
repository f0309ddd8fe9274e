/** What options of presets have in common. */
import * as z from 'zod';
import { invalidArgument } from '../core/errors.ts';

const SHARE = 'a share between 0 and 1';
/** None and all are no targets. */
export const share = z.number().gt(0, SHARE).lt(1, SHARE);

/** Layers by number, in any order. */
export const layers: z.ZodType<readonly number[], readonly number[]> = z.array(
  z.int().min(0, 'a whole number of at least 0'),
);

export function whole(least: number) {
  return z.int().min(least, `a whole number of at least ${least}`);
}

/** Throws `usage` unless `count`, when given, is an integer from `least` to `most`. */
export function checkCount(name: string, count: number | undefined, least: number, most: number): void {
  if (count === undefined || (Number.isInteger(count) && count >= least && count <= most)) return;
  throw invalidArgument(name, `an integer from ${least} to ${most}`, count);
}
