/**
 * Sums that do not depend on the order of adding. Every term is first rounded to a multiple of 2^-fractionBits; while
 * a sum stays below 2^(53 - fractionBits), float64 adds such terms without rounding, so shards merge bit for bit.
 */
import { LacunaError } from '../src/core/errors.ts';
import type { Sums, SumTensor } from '../src/core/statistics.ts';

/** float64 holds every integer up to 2^53. */
const SIGNIFICANT_BITS = 53;

/** Adds `terms[i]` to `sums[offset + i]`. Terms are whole sequences' sums, so the rounding is once a sequence. */
export function addExactly(
  sums: Float64Array,
  offset: number,
  terms: ArrayLike<number>,
  fractionBits: number,
  length = terms.length,
): void {
  const scale = 2 ** fractionBits;
  const limit = 2 ** (SIGNIFICANT_BITS - fractionBits);
  for (let i = 0; i < length; i++) {
    const sum = sums[offset + i] + Math.round(terms[i] * scale) / scale;
    if (!(Math.abs(sum) < limit)) throw outOfRange(sum, limit);
    sums[offset + i] = sum;
  }
}

function outOfRange(sum: number, limit: number): LacunaError {
  if (!Number.isFinite(sum)) return new LacunaError('non-finite', 'A statistic met a value that is not a number');
  return new LacunaError('unsupported', `A sum reached ${sum}, past which (${limit}) adding is no longer exact`, {
    hint: 'Calibrate on fewer tokens (--tokens).',
  });
}

/** Merges sums by adding; tensors named in `constants` must be the same in both and are kept. */
export function addSums(a: Sums, b: Sums, constants: readonly string[] = []): Sums {
  return Object.fromEntries(
    Object.entries(a).map(([name, left]) => {
      const right = b[name];
      if (right === undefined || String(left.shape) !== String(right.shape)) throw unlike(name);
      return [name, constants.includes(name) ? same(name, left, right) : add(left, right)];
    }),
  );
}

function add(left: SumTensor, right: SumTensor): SumTensor {
  const data = left.data.slice();
  for (let i = 0; i < data.length; i++) {
    const sum = left.data[i] + right.data[i];
    data[i] = sum;
    if (data[i] !== sum)
      throw new LacunaError('unsupported', `A count reached ${sum}, more than its ${data.constructor.name} holds`);
  }
  return { shape: left.shape, data };
}

function same(name: string, left: SumTensor, right: SumTensor): SumTensor {
  if (left.data.some((value, i) => value !== right.data[i])) throw unlike(name);
  return left;
}

function unlike(name: string): LacunaError {
  return new LacunaError('mismatch', `The statistics to merge differ in "${name}", which must be the same`, {
    hint: 'Merge only shards of one checkpoint, measured by one version.',
  });
}
