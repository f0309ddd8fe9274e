/** What options of presets have in common. */
import * as z from 'zod';
import { invalidArgument } from '../core/errors.ts';

/** None and all are no targets. */
export const share = z.number().gt(0).lt(1);

/** Throws `usage` unless `count`, when given, is an integer from `least` to `most`. */
export function checkCount(name: string, count: number | undefined, least: number, most: number): void {
  if (count === undefined || (Number.isInteger(count) && count >= least && count <= most)) return;
  throw invalidArgument(name, `an integer from ${least} to ${most}`, count);
}
