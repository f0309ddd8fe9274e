/**
 * The door that public functions stand behind. It holds what is given against the function's schema, once and before anything is
 * done, and rejects with `LacunaError` `usage` where a field is unknown, missing, of another type or out of range. Functions of the
 * pipeline call each other without it: what they hand on has been checked.
 */
import type * as z from 'zod';
import { checkArgument } from '../core/options.ts';

/** `work` behind its door; `of` is the function's name, as messages say it. */
export function door<Options, Result>(
  of: string,
  schema: z.ZodType<NoInfer<Options>>,
  work: (options: Options) => Promise<Result>,
): (options: Options) => Promise<Result> {
  return async (given) => work(checkArgument(schema, given, { of }));
}
