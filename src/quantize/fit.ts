/**
 * Chooses scale and zero point of a block: value = scale * (code - zero point), codes from 0 to 2^bits - 1.
 *
 * `nearest` makes the block's range fill the codes, so no value is off by more than half a step. `search` tries several
 * scales, gives each the least-squares scale of its codes, and keeps the best. Clipping the few largest values pays
 * when all others are then rounded more finely. (llama.cpp's quantisation uses the same idea.)
 */
import { LacunaError } from '../core/errors.ts';
import { FLOAT_NAMES, listed, precisionNamed } from '../core/precision.ts';
import type { BlockScheme } from '../core/tensor.ts';

/** Values of one block, and the weights of their squared errors. Neither is changed. */
export interface Block {
  readonly values: Float32Array;
  /** Where the block starts in `values`, and where in `weights`. */
  readonly start: number;
  readonly firstColumn: number;
  readonly length: number;
  /** By column; none is negative. */
  readonly weights: Float32Array;
}

/** `scale` is a float16 other than 0 and may be negative. */
export interface Fit {
  readonly scale: number;
  readonly zeroPoint: number;
}

export function topCode(bits: number): number {
  return (1 << bits) - 1;
}

/** The zero point of symmetric schemes, and of operators without one. */
export function middleCode(bits: number): number {
  return 1 << (bits - 1);
}

/** Rounds to the nearest code, halves up. `inverse` is 1 / scale. */
export function codeOf(value: number, inverse: number, zeroPoint: number, top: number): number {
  return Math.min(Math.max(Math.floor(value * inverse + zeroPoint + 0.5), 0), top);
}

/** Throws 'unsupported' for values so large that float16 cannot hold their scale. */
export function fitBlock(block: Block, { bits, symmetric, method }: BlockScheme): Fit {
  const range = rangeOf(block);
  // All zeros: any scale gives them back.
  if (range.low === 0 && range.high === 0) return { scale: 1, zeroPoint: middleCode(bits) };
  const nearest = symmetric ? nearestSymmetric(range, bits) : nearestAsymmetric(range, bits);
  if (method === 'nearest') return nearest;
  const found = symmetric ? searchSymmetric(block, range, bits) : searchAsymmetric(block, range, bits);
  return found === undefined ? nearest : lessWrong(block, found, nearest, bits);
}

/** Smallest and largest value, including 0, because every code set holds an exact zero. */
interface Range {
  readonly low: number;
  readonly high: number;
}

function rangeOf({ values, start, length }: Block): Range {
  let low = 0;
  let high = 0;
  for (let i = start; i < start + length; i++) {
    const value = values[i];
    if (value < low) low = value;
    else if (value > high) high = value;
  }
  return { low, high };
}

/** One code more is below the middle than above. The scale's sign puts it on the side where the range is longer. */
function nearestSymmetric({ low, high }: Range, bits: number): Fit {
  const middle = middleCode(bits);
  const upright = Math.max(high / (middle - 1), -low / middle);
  const turned = Math.max(high / middle, -low / (middle - 1));
  return { scale: inRange(stored(upright <= turned ? upright : -turned)), zeroPoint: middle };
}

function nearestAsymmetric({ low, high }: Range, bits: number): Fit {
  const scale = inRange(stored((high - low) / topCode(bits)));
  return { scale, zeroPoint: Math.min(topCode(bits), Math.max(0, Math.round(-low / scale))) };
}

/**
 * The next float16 away from zero, if a float32 scale is not a float16. Then the values at the ends of the range are
 * still within reach, and no scale becomes 0. Beyond the largest float16 the result is some larger number.
 */
function stored(scale: number): number {
  FLOAT[0] = scale;
  // Below 2^-14, float16 has the multiples of 2^-24. Above, it has numbers with 13 bits less than float32.
  if (Math.abs(scale) < 2 ** -14)
    return (Math.sign(scale) * Math.max(1, Math.ceil(Math.abs(FLOAT[0]) * 2 ** 24))) / 2 ** 24;
  BITS[0] = (BITS[0] + 0x1fff) & ~0x1fff;
  return FLOAT[0];
}

const FLOAT = new Float32Array(1);
const BITS = new Uint32Array(FLOAT.buffer);
export const MAX_FLOAT16 = 65504;

/** Precisions that can store larger values. */
const WIDE_FLOATS = FLOAT_NAMES.filter((name) => precisionNamed(name).floats === 'float32');

/** Throws 'unsupported' for a scale beyond float16. Infinite weights, where allowed, have an infinite scale. */
export function inRange(scale: number): number {
  if (Math.abs(scale) <= MAX_FLOAT16 || !Number.isFinite(scale)) return scale;
  throw new LacunaError(
    'unsupported',
    `A block of weights has the scale ${scale}, beyond ${MAX_FLOAT16}, the largest float16`,
    { hint: `Convert with --dtype ${listed(WIDE_FLOATS, 'or')}.` },
  );
}

/**
 * Where the largest value goes, in half ranges of codes (8 for 4 bits, where -8 is the lowest code). On trained
 * weights, these seven come within 1 % of the error of an exhaustive search.
 */
const PEAKS = [
  [-1.25, -1.125],
  [-1.0625, -1],
  [-0.9375, -0.875],
  [0.875, 0.875],
] as const;

function searchSymmetric(block: Block, { low, high }: Range, bits: number): Fit | undefined {
  const middle = middleCode(bits);
  const peak = -low > high ? low : high;
  const best = noTrial();
  for (let pair = 0; pair < PEAKS.length; pair++) {
    const [one, other] = PEAKS[pair];
    tryTwo(block, (one * middle) / peak, middle, (other * middle) / peak, middle, topCode(bits), best);
  }
  return refined(block, best, bits);
}

/** How much narrower the range of the codes is than that of the block. */
const SHRINKS = [0.95, 1.03, 1.11, 1.19, 1.27, 1.35] as const;

/** Tries the two whole zero points that centre the codes on the range, for each of several scales. */
function searchAsymmetric(block: Block, { low, high }: Range, bits: number): Fit | undefined {
  const top = topCode(bits);
  const best = noTrial();
  for (const shrink of SHRINKS) {
    const inverse = (shrink * top) / (high - low);
    const centred = Math.floor(top / 2 - ((low + high) / 2) * inverse);
    // If one of the two is not a code, the other is tried twice.
    const lower = centred < 0 ? centred + 1 : centred;
    const upper = centred + 1 > top ? centred : centred + 1;
    if (lower >= 0 && lower <= top && upper >= 0 && upper <= top)
      tryTwo(block, inverse, lower, inverse, upper, top, best);
  }
  return refined(block, best, bits);
}

/** The least-squares scale of the codes of some first scale. The best so far, changed in place. */
interface Trial {
  scale: number;
  zeroPoint: number;
  /** How much it lowers the squared error below that of a block of zeros. */
  gain: number;
}

function noTrial(): Trial {
  return { scale: 0, zeroPoint: 0, gain: 0 };
}

/**
 * Tries two first scales, given by their reciprocals. With codes c (less the zero point) and weights w, sum w (x - s
 * c)^2 is least at s = sum w x c / sum w c^2. There it is sum w x^2 - (sum w x c)^2 / sum w c^2.
 *
 * Two at a time, because the processor can add to the sums of one while those of the other are not ready.
 */
function tryTwo(
  block: Block,
  inverseA: number,
  zeroPointA: number,
  inverseB: number,
  zeroPointB: number,
  top: number,
  best: Trial,
): void {
  const { values, start, length, weights, firstColumn } = block;
  const shiftA = zeroPointA + 0.5;
  const shiftB = zeroPointB + 0.5;
  let productsA = 0;
  let productsB = 0;
  let squaresA = 0;
  let squaresB = 0;
  for (let i = 0; i < length; i++) {
    const value = values[start + i];
    const weight = weights[firstColumn + i];
    // Truncation differs from rounding down only below zero, and such values are clipped.
    const codeA = Math.min(Math.max((value * inverseA + shiftA) | 0, 0), top) - zeroPointA;
    const codeB = Math.min(Math.max((value * inverseB + shiftB) | 0, 0), top) - zeroPointB;
    const weightedA = codeA * weight;
    const weightedB = codeB * weight;
    productsA += value * weightedA;
    productsB += value * weightedB;
    squaresA += codeA * weightedA;
    squaresB += codeB * weightedB;
  }
  keepBetter(best, productsA, squaresA, zeroPointA);
  keepBetter(best, productsB, squaresB, zeroPointB);
}

function keepBetter(best: Trial, products: number, squares: number, zeroPoint: number): void {
  if (!(squares > 0) || products === 0) return;
  const gain = (products * products) / squares;
  if (!(gain > best.gain)) return;
  best.scale = products / squares;
  best.zeroPoint = zeroPoint;
  best.gain = gain;
}

/** Rounds once more by the scale that was found, which can only lower the error; undefined if none was found. */
function refined(block: Block, best: Trial, bits: number): Fit | undefined {
  if (best.gain === 0) return undefined;
  const { scale, zeroPoint } = best;
  tryTwo(block, 1 / scale, zeroPoint, 1 / scale, zeroPoint, topCode(bits), best);
  const rounded = stored(best.scale);
  return Math.abs(rounded) <= MAX_FLOAT16 ? { scale: rounded, zeroPoint: best.zeroPoint } : undefined;
}

/** The fit with the smaller weighted squared error; `b` if they are equal. */
function lessWrong(block: Block, a: Fit, b: Fit, bits: number): Fit {
  const { values, start, length, weights, firstColumn } = block;
  const top = topCode(bits);
  const inverseA = 1 / a.scale;
  const inverseB = 1 / b.scale;
  let sumA = 0;
  let sumB = 0;
  for (let i = 0; i < length; i++) {
    const value = values[start + i];
    const weight = weights[firstColumn + i];
    const errorA = value - a.scale * (codeOf(value, inverseA, a.zeroPoint, top) - a.zeroPoint);
    const errorB = value - b.scale * (codeOf(value, inverseB, b.zeroPoint, top) - b.zeroPoint);
    sumA += errorA * errorA * weight;
    sumB += errorB * errorB * weight;
  }
  return sumA < sumB ? a : b;
}
