/** Values of options, checked where they are read. An error says what was wanted. */
import { InvalidArgumentError } from 'commander';
import type * as z from 'zod';
import { invalidArgument } from '../core/errors.ts';
import { MOST_THREADS } from '../core/limits.ts';
import { wanted } from '../core/options.ts';
import { PRECISION_NAMES, type PrecisionName } from '../core/precision.ts';

/** Number('') is 0, but an empty text is not meant as 0. */
function parseNumber(text: string): number {
  return text.trim() === '' ? Number.NaN : Number(text);
}

export function positiveInteger(text: string): number {
  const value = parseNumber(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('Expected a whole number of at least 1.');
  return value;
}

export function threadCount(text: string): number {
  const value = parseNumber(text);
  if (!Number.isSafeInteger(value) || value < 1 || value > MOST_THREADS)
    throw new InvalidArgumentError(`Expected a whole number from 1 to ${MOST_THREADS}.`);
  return value;
}

export function nonNegativeInteger(text: string): number {
  const value = parseNumber(text);
  if (!Number.isSafeInteger(value) || value < 0)
    throw new InvalidArgumentError('Expected a whole number of at least 0.');
  return value;
}

export function positiveNumber(text: string): number {
  const value = parseNumber(text);
  if (!(value > 0) || !Number.isFinite(value)) throw new InvalidArgumentError('Expected a number above 0.');
  return value;
}

export function nonNegativeNumber(text: string): number {
  const value = parseNumber(text);
  if (!(value >= 0) || !Number.isFinite(value)) throw new InvalidArgumentError('Expected a number of at least 0.');
  return value;
}

/** The precisions that an option names. "fp32,int4" and "fp32, int4" both name two. */
export function precisionNames(option: string): (text: string) => readonly PrecisionName[] {
  return (text) =>
    text.split(',').map((given) => {
      const name = PRECISION_NAMES.find((known) => known === given.trim());
      if (name === undefined) throw invalidArgument(option, PRECISION_NAMES.join(', '), given.trim());
      return name;
    });
}

/** A share between 0 and 1, or a percentage: "0.25" or "25%". 0 and 1 are not targets. */
export function share(text: string): number {
  const value = text.endsWith('%') ? parseNumber(text.slice(0, -1)) / 100 : parseNumber(text);
  if (!(value > 0 && value < 1)) throw new InvalidArgumentError('Expected a share between 0 and 1, as 0.25 or 25%.');
  return value;
}

/** A limit for the perplexity ratio, or for the loss: "1.02" or "2%". */
export function budget(text: string): number {
  const value = text.endsWith('%') ? 1 + parseNumber(text.slice(0, -1)) / 100 : parseNumber(text);
  if (!(value >= 1 && Number.isFinite(value)))
    throw new InvalidArgumentError('Expected a ratio of at least 1, as 1.02, or a loss, as 2%.');
  return value;
}

/** Like a share, but 1 is allowed: sampling may draw from everything. */
export function probability(text: string): number {
  const value = parseNumber(text);
  if (!(value > 0 && value <= 1)) throw new InvalidArgumentError('Expected a number above 0, at most 1.');
  return value;
}

/** A number that a schema accepts. */
export function numberOf<T>(schema: z.ZodType<T>): (text: string) => T {
  return (text) => {
    const { success, data, error } = schema.safeParse(parseNumber(text), { error: wanted });
    if (success) return data;
    throw new InvalidArgumentError(`Expected ${error.issues[0].message}.`);
  };
}

export interface Shard {
  readonly index: number;
  readonly count: number;
}

/** "0/4" is the first of four. Indices start at 0, as JOB_COMPLETION_INDEX and SLURM_ARRAY_TASK_ID do. */
export function shard(text: string): Shard {
  const match = /^(\d+)\/(\d+)$/.exec(text);
  const index = Number(match?.[1]);
  const count = Number(match?.[2]);
  if (!match || count < 1 || index >= count) throw new InvalidArgumentError('Expected i/n with 0 <= i < n, as 0/4.');
  return { index, count };
}
