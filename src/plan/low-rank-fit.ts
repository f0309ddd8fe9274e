/**
 * The affine map of low rank that comes nearest to what an FFN block adds: ridge regression (Hoerl and Kennard 1970) by
 * second moments, its fitted values cut to the directions in which they vary most (Izenman 1975, "Reduced-rank
 * regression for the multivariate linear model").
 */
import { addRow, cholesky, scaleRow, solveLower, solveUpper } from '../core/cholesky.ts';
import type { FfnMoments } from '../core/ffn-moments.ts';

/**
 * Added to the diagonal of the inputs' moments, as a share of its mean: directions that the texts hardly used explain
 * nothing there and much by chance.
 */
const RIDGE = 1e-2;

/** Directions iterated beside those wanted, and how often: the explained variance changes by less than 1e-4 after that. */
const FURTHER_DIRECTIONS = 16;
const ITERATIONS = 6;

/** What is fitted to. */
export type LinearMoments = Omit<FfnMoments, 'square'>;

/** y = expand reduce x + offset, where rows of `reduce` come in the order of what they explain. */
export interface LowRankFit {
  /** [rank, h] */
  readonly reduce: Float64Array;
  /** [h, rank], its columns of length 1 and orthogonal. */
  readonly expand: Float64Array;
  /** By number of rows: the share of the variance of y that the first ones explain; index 0 is 0. */
  readonly explained: readonly number[];
}

/** The fit of the largest rank that is wanted; smaller ones are its first rows and columns. */
export function fitLowRank({ hidden, xx, xy, variance }: LinearMoments, rank: number): LowRankFit {
  const lower = cholesky(damped(xx, hidden), hidden);
  // With L Lᵀ = xx + ridge, the ridge map is xyᵀ L⁻ᵀ L⁻¹, and MᵀM the covariance of what it fits (the ridge counted in).
  const whitened = solveLower(lower, xy, hidden, hidden);
  const { vectors, values } = topDirections(whitened, hidden, Math.min(rank, hidden));
  const columns = Math.min(rank, hidden);
  // Rows of `reduce` are vᵀ xyᵀ (xx + ridge)⁻¹ = (L⁻ᵀ M v)ᵀ.
  const fitted = solveUpper(lower, multiply(whitened, vectors, hidden, hidden, columns), hidden, columns);
  const explained = [0];
  for (const value of values)
    explained.push(variance > 0 ? Math.min(1, (explained.at(-1) ?? 0) + value / variance) : 0);
  return { reduce: transposed(fitted, hidden, columns), expand: vectors, explained };
}

/** A smaller rank is taken where it leaves at most this many times what the largest leaves unexplained. */
const MOST_LEFT = 1.02;

/** The least multiple of `step` that explains nearly what the largest rank does, or else the largest rank. */
export function smallestRank(explained: readonly number[], step: number): number {
  const most = explained.length - 1;
  for (let rank = step; rank < most; rank += step)
    if (1 - explained[rank] <= MOST_LEFT * (1 - explained[most])) return rank;
  return most;
}

/** meanY - expand reduce meanX, for the first `rank` rows of a fit. */
function offsetOf({ reduce, expand }: LowRankFit, { hidden, meanX, meanY }: LinearMoments, rank: number): Float64Array {
  const columns = expand.length / hidden;
  const offset = meanY.slice();
  for (let row = 0; row < rank; row++) {
    let inner = 0;
    for (let i = 0; i < hidden; i++) inner += reduce[row * hidden + i] * meanX[i];
    for (let i = 0; i < hidden; i++) offset[i] -= expand[i * columns + row] * inner;
  }
  return offset;
}

/** The same in float32, as models hold it: `reduce` [rank, h], `expand` [h, rank], `offset` [h]. */
export interface LowRankMap {
  readonly reduce: Float32Array;
  readonly expand: Float32Array;
  readonly offset: Float32Array;
}

/** The first `rank` rows of a fit. */
export function lowRankMap(fit: LowRankFit, moments: LinearMoments, rank: number): LowRankMap {
  const { hidden } = moments;
  const columns = fit.expand.length / hidden;
  const expand = new Float32Array(hidden * rank);
  for (let row = 0; row < hidden; row++)
    for (let column = 0; column < rank; column++) expand[row * rank + column] = fit.expand[row * columns + column];
  return {
    reduce: Float32Array.from(fit.reduce.subarray(0, rank * hidden)),
    expand,
    offset: Float32Array.from(offsetOf(fit, moments, rank)),
  };
}

/** A symmetric matrix with the ridge on its diagonal. */
export function damped(matrix: Float64Array, size: number): Float64Array {
  const result = matrix.slice();
  let trace = 0;
  for (let i = 0; i < size; i++) trace += matrix[i * size + i];
  const ridge = trace > 0 ? (RIDGE * trace) / size : 1;
  for (let i = 0; i < size; i++) result[i * size + i] += ridge;
  return result;
}

/** A B, [rows, inner] and [inner, columns]. */
function multiply(a: Float64Array, b: Float64Array, rows: number, inner: number, columns: number): Float64Array {
  const result = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row++)
    for (let k = 0; k < inner; k++) {
      const factor = a[row * inner + k];
      const [target, source] = [row * columns, k * columns];
      for (let i = 0; i < columns; i++) result[target + i] += factor * b[source + i];
    }
  return result;
}

export function transposed(matrix: Float64Array, rows: number, columns: number): Float64Array {
  const result = new Float64Array(matrix.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) result[column * rows + row] = matrix[row * columns + column];
  return result;
}

/**
 * The first eigenvectors of MᵀM, [size, count], and their eigenvalues, descending: by iterating a subspace (Halko,
 * Martinsson and Tropp 2011, algorithm 4.4), which takes a share count / size of the time that all of them take.
 */
function topDirections(matrix: Float64Array, size: number, count: number) {
  const width = Math.min(size, count + FURTHER_DIRECTIONS);
  const turned = transposed(matrix, size, size);
  let basis = orthonormal(firstBasis(turned, size, width), size, width);
  for (let i = 0; i < ITERATIONS; i++) {
    const image = multiply(matrix, basis, size, size, width);
    basis = orthonormal(multiply(turned, image, size, size, width), size, width);
  }
  const image = multiply(matrix, basis, size, size, width);
  const small = multiply(transposed(image, size, width), image, width, size, width);
  const { values, vectors } = symmetricEigen(small, width);
  const order = [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, count);
  const chosen = new Float64Array(width * count);
  for (let row = 0; row < width; row++)
    for (const [column, from] of order.entries()) chosen[row * count + column] = vectors[row * width + from];
  return {
    vectors: multiply(basis, chosen, size, width, count),
    values: order.map((index) => Math.max(0, values[index])),
  };
}

/** Sums of columns with signs that a fixed generator draws, so that no direction is left out and the fit is the same each time. */
function firstBasis(matrix: Float64Array, size: number, width: number): Float64Array {
  let state = 1;
  const signs = new Float64Array(size * width);
  for (let i = 0; i < signs.length; i++) {
    // Numerical Recipes' constants.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    signs[i] = state >= 2 ** 31 ? 1 : -1;
  }
  return multiply(matrix, signs, size, size, width);
}

/** Gram and Schmidt, twice, column by column; a column that the others span becomes zero. */
function orthonormal(matrix: Float64Array, rows: number, columns: number): Float64Array {
  const vectors = transposed(matrix, rows, columns);
  for (let column = 0; column < columns; column++) {
    const before = lengthOf(vectors, rows, column);
    for (const other of [...Array(column).keys(), ...Array(column).keys()])
      addRow(vectors, rows, column, other, -innerProduct(vectors, rows, column, other));
    const length = lengthOf(vectors, rows, column);
    scaleRow(vectors, rows, column, length > 1e-12 * before ? 1 / length : 0);
  }
  return transposed(vectors, columns, rows);
}

function innerProduct(matrix: Float64Array, columns: number, a: number, b: number): number {
  let sum = 0;
  for (let i = 0; i < columns; i++) sum += matrix[a * columns + i] * matrix[b * columns + i];
  return sum;
}

function lengthOf(matrix: Float64Array, columns: number, row: number): number {
  return Math.sqrt(innerProduct(matrix, columns, row, row));
}

/** Rotations of a cyclic sweep, which end when what is off the diagonal is this small a share of the rest. */
const NEGLIGIBLE = 1e-24;
const MOST_SWEEPS = 30;

/** Eigenvalues of a small symmetric matrix, and eigenvectors in the columns of [size, size], by Jacobi's rotations. */
function symmetricEigen(matrix: Float64Array, size: number) {
  const a = matrix.slice();
  // Rows of `turns` are eigenvectors.
  const turns = new Float64Array(size * size);
  for (let i = 0; i < size; i++) turns[i * size + i] = 1;
  for (let sweep = 0; sweep < MOST_SWEEPS && offDiagonal(a, size) > NEGLIGIBLE; sweep++)
    for (let p = 0; p < size; p++) for (let q = p + 1; q < size; q++) rotate(a, turns, size, p, q);
  return {
    values: Float64Array.from({ length: size }, (_, i) => a[i * size + i]),
    vectors: transposed(turns, size, size),
  };
}

function offDiagonal(a: Float64Array, size: number): number {
  let [off, all] = [0, 0];
  for (let row = 0; row < size; row++)
    for (let column = 0; column < size; column++) {
      const square = a[row * size + column] ** 2;
      all += square;
      if (row !== column) off += square;
    }
  return all === 0 ? 0 : off / all;
}

/** Turns the plane of axes p and q so that their entry becomes 0. */
function rotate(a: Float64Array, turns: Float64Array, size: number, p: number, q: number): void {
  const off = a[p * size + q];
  if (off === 0) return;
  const slope = (a[q * size + q] - a[p * size + p]) / (2 * off);
  const tangent = (slope < 0 ? -1 : 1) / (Math.abs(slope) + Math.hypot(1, slope));
  const cosine = 1 / Math.hypot(1, tangent);
  const sine = tangent * cosine;
  turnRows(a, size, p, q, cosine, sine);
  for (let row = 0; row < size; row++) {
    const [x, y] = [a[row * size + p], a[row * size + q]];
    a[row * size + p] = cosine * x - sine * y;
    a[row * size + q] = sine * x + cosine * y;
  }
  turnRows(turns, size, p, q, cosine, sine);
}

function turnRows(a: Float64Array, size: number, p: number, q: number, cosine: number, sine: number): void {
  for (let i = 0; i < size; i++) {
    const [x, y] = [a[p * size + i], a[q * size + i]];
    a[p * size + i] = cosine * x - sine * y;
    a[q * size + i] = sine * x + cosine * y;
  }
}
