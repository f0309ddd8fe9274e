/**
 * What a token's input says of the error that a map makes there: slope x + curvature |x|^2 + intercept, by ridge regression
 * on a sample. The square is the leverage of an input among inputs that vary alike in all directions. The leverage by
 * second moments takes a matrix, and tells near tokens from far ones less well (docs/plans.md, "The preset replace").
 */
import { cholesky, solveLower, solveUpper } from './low-rank-fit.ts';

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

/** Fitted to inputs x, [tokens, h], and the error at each. */
export function fitErrorGate(x: Float32Array, errors: Float64Array, hidden: number): ErrorGate {
  const tokens = errors.length;
  const width = hidden + 1;
  const means = columnMeans(x, hidden);
  // Of x - mean and |x - mean|^2, side by side.
  const features = new Float64Array(tokens * width);
  for (let token = 0; token < tokens; token++) {
    let square = 0;
    for (let i = 0; i < hidden; i++) {
      const value = x[token * hidden + i] - means[i];
      features[token * width + i] = value;
      square += value * value;
    }
    features[token * width + hidden] = square;
  }
  const centres = columnMeans(features, width);
  const scales = columnDeviations(features, centres, width);
  for (let i = 0; i < features.length; i++) features[i] = (features[i] - centres[i % width]) / scales[i % width];
  const wanted = clipped(errors);
  const mean = wanted.reduce((sum, error) => sum + error, 0) / Math.max(1, tokens);
  const weights = ridgeWeights(features, wanted, mean, width).map((weight, i) => weight / scales[i]);
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

function columnMeans(matrix: ArrayLike<number>, width: number): Float64Array {
  const sums = new Float64Array(width);
  for (let i = 0; i < matrix.length; i++) sums[i % width] += matrix[i];
  const rows = Math.max(1, matrix.length / width);
  return sums.map((sum) => sum / rows);
}

/** 1 for a column that does not vary. */
function columnDeviations(matrix: Float64Array, means: Float64Array, width: number): Float64Array {
  const sums = new Float64Array(width);
  for (let i = 0; i < matrix.length; i++) sums[i % width] += (matrix[i] - means[i % width]) ** 2;
  const rows = Math.max(1, matrix.length / width);
  return sums.map((sum) => Math.sqrt(sum / rows) || 1);
}

function clipped(errors: Float64Array): Float64Array {
  const sorted = errors.toSorted();
  const most = sorted[Math.floor(HIGHEST * (sorted.length - 1))] ?? 0;
  return errors.map((error) => Math.min(error, most));
}

/** (FᵀF / n + ridge)⁻¹ Fᵀ(y - mean) / n */
function ridgeWeights(features: Float64Array, wanted: Float64Array, mean: number, width: number): Float64Array {
  const gram = new Float64Array(width * width);
  const right = new Float64Array(width);
  const tokens = Math.max(1, wanted.length);
  for (let token = 0; token < wanted.length; token++) {
    const row = features.subarray(token * width, (token + 1) * width);
    for (let i = 0; i < width; i++) {
      const factor = row[i] / tokens;
      right[i] += factor * (wanted[token] - mean);
      for (let j = 0; j <= i; j++) gram[i * width + j] += factor * row[j];
    }
  }
  for (let i = 0; i < width; i++) gram[i * width + i] += RIDGE;
  const lower = cholesky(gram, width);
  return solveUpper(lower, solveLower(lower, right, width, 1), width, 1);
}
