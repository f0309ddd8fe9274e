/** Values of options, checked where they are read. An error says what was wanted. */
import { InvalidArgumentError } from 'commander';
import type * as z from 'zod';
import { LEAST_ATTENDED } from '../core/cache-format.ts';
import { invalidArgument } from '../core/errors.ts';
import { parseRuns } from '../core/layer-runs.ts';
import { MOST_THREADS } from '../core/limits.ts';
import { wanted } from '../core/options.ts';
import { PRECISION_NAMES, type PrecisionName } from '../core/precision.ts';

/** Number('') is 0, but an empty text is not meant as 0. */
function parseNumber(text: string): number {
  return text.trim() === '' ? Number.NaN : Number(text);
}

/** Of a number as text, with the mark that makes it a percentage: "0.25" and "25%" are the same share. */
function parseShare(text: string): number {
  return text.endsWith('%') ? parseNumber(text.slice(0, -1)) / 100 : parseNumber(text);
}

function reader(wanted: string, isWanted: (value: number) => boolean, parse = parseNumber): (text: string) => number {
  return (text) => {
    const value = parse(text);
    if (Number.isFinite(value) && isWanted(value)) return value;
    throw new InvalidArgumentError(`Expected ${wanted}.`);
  };
}

const isWhole = Number.isSafeInteger;

export const positiveInteger = reader('a whole number of at least 1', (value) => isWhole(value) && value >= 1);
export const nonNegativeInteger = reader('a whole number of at least 0', (value) => isWhole(value) && value >= 0);
export const positiveNumber = reader('a number above 0', (value) => value > 0);
export const nonNegativeNumber = reader('a number of at least 0', (value) => value >= 0);
export const attendedTokens = reader(
  `a whole number of at least ${LEAST_ATTENDED}`,
  (value) => isWhole(value) && value >= LEAST_ATTENDED,
);
export const threadCount = reader(
  `a whole number from 1 to ${MOST_THREADS}`,
  (value) => isWhole(value) && value >= 1 && value <= MOST_THREADS,
);

/** A share between 0 and 1, also written as a percentage; none and all are no targets. */
export const share = reader('a share between 0 and 1, as 0.25 or 25%', (value) => value > 0 && value < 1, parseShare);

/** Several, with commas between them. */
export function shares(text: string): readonly number[] {
  return text.split(',').map((one) => share(one.trim()));
}

/** Like a share, but all is fine: what sampling draws from. */
export const probability = reader('a number above 0, at most 1', (value) => value > 0 && value <= 1);

/** What a perplexity may be multiplied by, also written as what it may lose: "1.02" or "2%". */
export const budget = reader(
  'a ratio of at least 1, as 1.02, or a loss, as 2%',
  (value) => value >= 1,
  (text) => (text.endsWith('%') ? 1 : 0) + parseShare(text),
);

/** The precisions that an option names. "fp32,int4" and "fp32, int4" both name two. */
export function precisionNames(option: string): (text: string) => readonly PrecisionName[] {
  return (text) =>
    text.split(',').map((given) => {
      const name = PRECISION_NAMES.find((known) => known === given.trim());
      if (name === undefined) throw invalidArgument(option, PRECISION_NAMES.join(', '), given.trim());
      return name;
    });
}

export function numberOf<T>(schema: z.ZodType<T>): (text: string) => T {
  return (text) => {
    const { success, data, error } = schema.safeParse(parseNumber(text), { error: wanted });
    if (success) return data;
    throw new InvalidArgumentError(`Expected ${error.issues[0].message}.`);
  };
}

/** "0-2,29": layers by number, and runs of them. */
export function layerList(text: string): readonly number[] {
  const layers = parseRuns(text);
  if (layers === undefined) throw new InvalidArgumentError('Expected layers by number, as 0-2,29.');
  return layers;
}

/** "0/4" is the first of four. Indices start at 0, as JOB_COMPLETION_INDEX and SLURM_ARRAY_TASK_ID do. */
export function shard(text: string): { readonly index: number; readonly count: number } {
  const match = /^(\d+)\/(\d+)$/.exec(text);
  const index = Number(match?.[1]);
  const count = Number(match?.[2]);
  if (!match || count < 1 || index >= count) throw new InvalidArgumentError('Expected i/n with 0 <= i < n, as 0/4.');
  return { index, count };
}
