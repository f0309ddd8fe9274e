/**
 * Sums that do not depend on the order of adding. Every term is first rounded to a multiple of 2^-fractionBits. While a
 * sum stays below 2^(53 - fractionBits), float64 adds such terms without rounding, so shards merge bit for bit.
 */
import { elementCount } from '../src/core/dtype.ts';
import { LacunaError } from '../src/core/errors.ts';
import { type Sums, type SumTensor, sumData } from '../src/core/statistics.ts';

/** float64 holds every integer up to 2^53. */
const SIGNIFICANT_BITS = 53;

/** Adds `terms[i]` to `sums[offset + i]`. Terms are sums of whole sequences, so each sequence is rounded once. */
export function addExactly(sums: Float64Array, offset: number, terms: ArrayLike<number>, fractionBits: number): void {
  const scale = 2 ** fractionBits;
  const limit = 2 ** (SIGNIFICANT_BITS - fractionBits);
  for (let i = 0; i < terms.length; i++) {
    const sum = sums[offset + i] + Math.round(terms[i] * scale) / scale;
    if (!(Math.abs(sum) < limit)) throw outOfRange(sum, limit);
    sums[offset + i] = sum;
  }
}

/** Adds to a layer's part of the sum `name`, float64 [layers, terms]. */
export function addToLayer(sums: Sums, name: string, layer: number, terms: Float64Array, fractionBits: number): void {
  addExactly(layerOf(sums, name, layer, [-1, terms.length]), 0, terms, fractionBits);
}

/** A layer's part of the sum `name`, float64 of this shape (-1: any size), [layers, width]. */
export function layerOf(sums: Sums, name: string, layer: number, shape: readonly [number, number]): Float64Array {
  const data = sumData(sums, name, 'float64', shape);
  const width = sums[name].shape[1];
  return data.subarray(layer * width, (layer + 1) * width);
}

export function zeros(...shape: readonly number[]): SumTensor {
  return { shape, data: new Float64Array(elementCount(shape)) };
}

/** The first index up to which counts add up to `wanted`, itself included. */
export function indexReaching(counts: Float64Array, wanted: number): number {
  let seen = 0;
  return counts.findIndex((count) => {
    seen += count;
    return seen >= wanted;
  });
}

function outOfRange(sum: number, limit: number): LacunaError {
  if (!Number.isFinite(sum)) return new LacunaError('non-finite', 'A statistic met a value that is not a number');
  return new LacunaError('unsupported', `A sum reached ${sum}, past which (${limit}) adding is no longer exact`, {
    hint: 'Calibrate on fewer tokens (--tokens).',
  });
}

/** Merges sums by adding. Tensors named in `constants` must be the same in both and are kept. */
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

/**
 * Wide sums have two parts: first multiples of 2^16, then the rest, from -2^15 to 2^15 in multiples of 2^-24.
 * src/core/wide-sums.ts reads them.
 */
const WIDE_FRACTION_BITS = 24;
const WIDE_COARSE_STEP = 2 ** 16;

/**
 * Sums of terms, exact from 2^-24 up to 2^69, for values of which little is known beforehand: [2, ...shape]. There is
 * only one way to split a sum in two, so adding in any order gives the same bits here too.
 */
export function emptyWide(shape: readonly number[]): SumTensor {
  return zeros(2, ...shape);
}

/** Adds `terms[i]`, rounded to 2^-24, to the wide sum `offset + i`. Terms are sums of whole sequences. */
export function addWide(sums: Float64Array, offset: number, terms: ArrayLike<number>): void {
  const scale = 2 ** WIDE_FRACTION_BITS;
  const fine = sums.length / 2 + offset;
  for (let i = 0; i < terms.length; i++) {
    const term = Math.round(terms[i] * scale) / scale;
    const rest = sums[fine + i] + term;
    // In nearly all cases the rest takes the term up, and the multiples stay.
    if (rest >= -WIDE_COARSE_STEP / 2 && rest < WIDE_COARSE_STEP / 2) sums[fine + i] = rest;
    else addParts(sums, offset + i, multipleIn(term), term - multipleIn(term));
  }
}

/** The multiple of 2^16 that leaves the smallest rest of a number. */
function multipleIn(term: number): number {
  return Math.floor(term / WIDE_COARSE_STEP + 0.5) * WIDE_COARSE_STEP;
}

function addParts(sums: Float64Array, index: number, coarse: number, fine: number): void {
  const fineIndex = sums.length / 2 + index;
  const rest = sums[fineIndex] + fine;
  const carry = multipleIn(rest);
  sums[fineIndex] = rest - carry;
  sums[index] += coarse + carry;
  const limit = 2 ** SIGNIFICANT_BITS * WIDE_COARSE_STEP;
  if (!(Math.abs(sums[index]) < limit)) throw outOfRange(sums[index], limit);
}

export function addWideSums(a: Sums, b: Sums): Sums {
  return Object.fromEntries(
    Object.entries(a).map(([name, left]) => {
      const right = sumData(b, name, 'float64', left.shape);
      const data = sumData(a, name, 'float64', left.shape).slice();
      const length = data.length / 2;
      for (let i = 0; i < length; i++) addParts(data, i, right[i], right[length + i]);
      return [name, { shape: left.shape, data }];
    }),
  );
}
