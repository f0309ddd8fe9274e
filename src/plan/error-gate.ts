/**
 * What a token's input says of the error that a map makes there: slope x + curvature |x|^2 + intercept, by ridge regression
 * on a sample. The square is the leverage of an input among inputs that vary alike in all directions. The leverage by
 * second moments takes a matrix, and tells near tokens from far ones less well (docs/plans.md, "The preset replace").
 */

import { cholesky, solveLower, solveUpper } from '../core/cholesky.ts';
import { GATE_QUANTILES } from '../core/plan.ts';

/** Added to the moments of inputs of variance 1, so that a sample of a few tokens an input does not fit its own noise. */
const RIDGE = 0.3;

/** Errors above this quantile count as it: a few tokens are as wrong as all others together. */
const HIGHEST = 0.99;

export interface ErrorGate {
  /** [h] */
  readonly slope: Float32Array;
  readonly curvature: number;
  readonly intercept: number;
}

/** xᵀ x of rows [n, width]. */
type Square = (x: Float32Array, width: number) => Promise<ArrayLike<number>>;

/** Fitted to inputs x, [tokens, h], and the error at each. `square` multiplies where there is something faster than loops. */
export async function fitErrorGate(
  x: Float32Array,
  errors: Float64Array,
  hidden: number,
  square: Square = squareHere,
): Promise<ErrorGate> {
  const tokens = errors.length;
  const means = columnMeans(x, hidden);
  const wanted = clipped(errors);
  const mean = wanted.reduce((sum, error) => sum + error, 0) / Math.max(1, tokens);
  // Of x - mean, |x - mean|^2 and what is wanted, side by side.
  const width = hidden + 2;
  const features = new Float32Array(tokens * width);
  for (let token = 0; token < tokens; token++) {
    let sum = 0;
    for (let i = 0; i < hidden; i++) {
      const value = x[token * hidden + i] - means[i];
      features[token * width + i] = value;
      sum += value * value;
    }
    features[token * width + hidden] = sum;
    features[token * width + hidden + 1] = wanted[token];
  }
  const centres = columnMeans(features, width);
  const scales = columnDeviations(features, centres, width);
  for (let i = 0, column = 0; i < features.length; i++, column = (column + 1) % width)
    features[i] = (features[i] - centres[column]) / scales[column];
  const gram = await square(features, width);
  const weights = ridgeWeights(gram, tokens, hidden + 1).map((weight, i) => (weight * scales[hidden + 1]) / scales[i]);
  // |x - mean|^2 = |x|^2 - 2 mean x + |mean|^2
  const curvature = weights[hidden];
  const slope = Float32Array.from({ length: hidden }, (_, i) => weights[i] - 2 * curvature * means[i]);
  let intercept = mean - curvature * centres[hidden];
  for (let i = 0; i < hidden; i++) intercept += (curvature * means[i] - weights[i]) * means[i];
  return { slope, curvature, intercept };
}

/** The error that is expected at an input. */
export function expectedError({ slope, curvature, intercept }: ErrorGate, x: ArrayLike<number>): number {
  let sum = intercept;
  for (let i = 0; i < slope.length; i++) sum += (slope[i] + curvature * x[i]) * x[i];
  return sum;
}

/** `GATE_QUANTILES` of the errors that are expected, which are ascending: between two of them, as if they were spread evenly. */
export function errorQuantiles(ascending: Float64Array): Float32Array {
  return Float32Array.from({ length: GATE_QUANTILES }, (_, i) => between(ascending, i / (GATE_QUANTILES - 1)));
}

/** The expected error that this share of the tokens is below. */
export function thresholdAt(quantiles: Float32Array, share: number): number {
  return between(quantiles, Math.min(1, Math.max(0, share)));
}

function between(ascending: Float32Array | Float64Array, share: number): number {
  const place = share * (ascending.length - 1);
  const low = Math.floor(place);
  const next = ascending[Math.min(low + 1, ascending.length - 1)];
  return ascending[low] + (place - low) * (next - ascending[low]);
}

function columnMeans(matrix: ArrayLike<number>, width: number): Float64Array {
  const sums = new Float64Array(width);
  for (let i = 0, column = 0; i < matrix.length; i++, column = (column + 1) % width) sums[column] += matrix[i];
  const rows = Math.max(1, matrix.length / width);
  return sums.map((sum) => sum / rows);
}

/** 1 for a column that does not vary. */
function columnDeviations(matrix: Float32Array, means: Float64Array, width: number): Float64Array {
  const sums = new Float64Array(width);
  for (let i = 0, column = 0; i < matrix.length; i++, column = (column + 1) % width)
    sums[column] += (matrix[i] - means[column]) ** 2;
  const rows = Math.max(1, matrix.length / width);
  return sums.map((sum) => Math.sqrt(sum / rows) || 1);
}

function clipped(errors: Float64Array): Float64Array {
  const sorted = errors.toSorted();
  const most = sorted[Math.floor(HIGHEST * (sorted.length - 1))] ?? 0;
  return errors.map((error) => Math.min(error, most));
}

/** (FᵀF / n + ridge)⁻¹ Fᵀy / n, of the products of F and y side by side, [width + 1, width + 1]. */
function ridgeWeights(products: ArrayLike<number>, tokens: number, width: number): Float64Array {
  const gram = new Float64Array(width * width);
  const right = new Float64Array(width);
  for (let i = 0; i < width; i++) {
    for (let j = 0; j < width; j++) gram[i * width + j] = products[i * (width + 1) + j] / Math.max(1, tokens);
    gram[i * width + i] += RIDGE;
    right[i] = products[i * (width + 1) + width] / Math.max(1, tokens);
  }
  const lower = cholesky(gram, width);
  return solveUpper(lower, solveLower(lower, right, width, 1), width, 1);
}

async function squareHere(x: Float32Array, width: number): Promise<Float64Array> {
  const result = new Float64Array(width * width);
  for (let start = 0; start < x.length; start += width) {
    const row = x.subarray(start, start + width);
    for (let i = 0; i < width; i++) for (let j = 0; j <= i; j++) result[i * width + j] += row[i] * row[j];
  }
  for (let i = 0; i < width; i++) for (let j = 0; j < i; j++) result[j * width + i] = result[i * width + j];
  return result;
}
