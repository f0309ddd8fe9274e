/** What decoding knows about its file, and the form of its errors. */
import { LacunaError } from '../../src/core/errors.ts';
import type { FileTensor } from '../../src/core/tensor.ts';
import type { Int64 } from './proto.ts';

export interface Source {
  readonly path: string;
  /** External data are named relative to it. */
  readonly folder: string;
  readonly bytes: Uint8Array;
  /** Ranges of other files found so far. They are checked against those files at the end. */
  readonly externals: FileTensor[];
}

export function badFile({ path }: Pick<Source, 'path'>, problem: string, cause?: unknown): LacunaError {
  return new LacunaError('bad-file', `${path}: ${problem}`, { cause });
}

/** An int64 as a number. A value that a number cannot hold exactly is refused. */
export function asSafeInteger(value: Int64, what: string, { path }: Source): number {
  const number = Number(value.toString());
  if (Number.isSafeInteger(number)) return number;
  throw new LacunaError('unsupported', `${path}: ${what} is ${value}; whole numbers up to 2^53 - 1 are supported`);
}
