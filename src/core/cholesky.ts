/** Systems of equations with the second moments of tokens. Matrices are dense, row by row. */
import { LacunaError } from './errors.ts';

/** L, lower triangular, of a positive definite matrix L Lᵀ, [size, size]. Throws `bad-file` for any other. */
export function cholesky(matrix: Float64Array, size: number): Float64Array {
  const lower = new Float64Array(size * size);
  for (let row = 0; row < size; row++)
    for (let column = 0; column <= row; column++) {
      let sum = matrix[row * size + column];
      for (let k = 0; k < column; k++) sum -= lower[row * size + k] * lower[column * size + k];
      if (column < row) lower[row * size + column] = sum / lower[column * size + column];
      else if (sum > 0 && sum < Number.POSITIVE_INFINITY) lower[row * size + row] = Math.sqrt(sum);
      else
        throw new LacunaError('bad-file', 'The moments are those of no tokens: their matrix is not positive definite', {
          hint: 'Measure again with lacuna calibrate.',
        });
    }
  return lower;
}

/** L⁻¹ B, of B [size, columns]. */
export function solveLower(lower: Float64Array, right: Float64Array, size: number, columns: number): Float64Array {
  const result = right.slice();
  for (let row = 0; row < size; row++) {
    for (let k = 0; k < row; k++) addRow(result, columns, row, k, -lower[row * size + k]);
    scaleRow(result, columns, row, 1 / lower[row * size + row]);
  }
  return result;
}

/** L⁻ᵀ B, of B [size, columns]. */
export function solveUpper(lower: Float64Array, right: Float64Array, size: number, columns: number): Float64Array {
  const result = right.slice();
  for (let row = size - 1; row >= 0; row--) {
    for (let k = row + 1; k < size; k++) addRow(result, columns, row, k, -lower[k * size + row]);
    scaleRow(result, columns, row, 1 / lower[row * size + row]);
  }
  return result;
}

/** Adds a row times a factor to another, in place. */
export function addRow(matrix: Float64Array, columns: number, to: number, from: number, factor: number): void {
  if (factor === 0) return;
  const [target, source] = [to * columns, from * columns];
  for (let i = 0; i < columns; i++) matrix[target + i] += factor * matrix[source + i];
}

/** In place. */
export function scaleRow(matrix: Float64Array, columns: number, row: number, factor: number): void {
  for (let i = row * columns; i < (row + 1) * columns; i++) matrix[i] *= factor;
}
