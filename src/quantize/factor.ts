/** The factor of a Gram matrix by which rounding errors are carried on: H = U D Uᵀ with ones on U's diagonal. */
import { LacunaError } from '../core/errors.ts';
import type { Multiply } from '../core/runner.ts';

/** A share of the diagonal's mean, added to it so that directions that the texts hardly used still cost something. */
const DAMPING = 0.05;

/** Columns that plain loops factor at a time. `multiply` computes products with all earlier columns. */
const PANEL = 128;

export interface GramFactor {
  readonly columns: number;
  /** The diagonal of the undamped matrix, float [columns]. */
  readonly diagonal: Float32Array;
  /** Columns in the order of rounding. Columns with the most costly errors come first. */
  readonly order: Int32Array;
  /** [columns, columns] in that order, upper triangular with ones on the diagonal. */
  readonly upper: Float32Array;
}

/**
 * Factors a damped Gram matrix [columns, columns], with its columns in descending order of the diagonal.
 *
 * This order is "act-order" in the GPTQ authors' code. The triangular form is that of QuIP (Chee et al. 2023, section
 * 4.1, LDLQ), which gives the codes of GPTQ without its inverse. The work goes panel by panel: what earlier columns
 * take from a panel is one product.
 *
 * Throws 'non-finite' for a matrix with NaN or infinity.
 */
export async function factorGram(gram: Float32Array, columns: number, multiply: Multiply): Promise<GramFactor> {
  const diagonal = Float32Array.from({ length: columns }, (_, i) => gram[i * columns + i]);
  const mean = diagonal.reduce((sum, square) => sum + square, 0) / columns;
  if (!(mean < Infinity)) throw notFinite();
  const damping = mean === 0 ? 1 : DAMPING * mean;
  const order = Int32Array.from(diagonal.keys()).sort((a, b) => diagonal[b] - diagonal[a] || a - b);
  // Turned by half a circle, the matrix needs its lower factor, which is Cholesky's. Turned back, that is the upper
  // factor.
  const turned = order.slice().reverse();
  const lower = new Float32Array(columns * columns);
  for (let start = 0; start < columns; start += PANEL) {
    const width = Math.min(PANEL, columns - start);
    const panel = await reducedPanel({ gram, turned, damping, lower, columns, multiply }, start, width);
    factorPanel(panel, width);
    for (let row = start; row < columns; row++)
      lower.set(panel.subarray((row - start) * width, (row - start + 1) * width), row * columns + start);
  }
  divideByDiagonal(lower, columns);
  return { columns, diagonal, order, upper: lower.reverse() };
}

interface Factoring {
  readonly gram: Float32Array;
  readonly turned: Int32Array;
  readonly damping: number;
  readonly lower: Float32Array;
  readonly columns: number;
  readonly multiply: Multiply;
}

/** Columns `start` to `start + width` from the diagonal down, less what earlier columns explain. */
async function reducedPanel(
  { gram, turned, damping, lower, columns, multiply }: Factoring,
  start: number,
  width: number,
): Promise<Float32Array> {
  const rows = columns - start;
  const panel = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const from = turned[start + row] * columns;
    for (let column = 0; column < width; column++) panel[row * width + column] = gram[from + turned[start + column]];
    if (row < width) panel[row * width + row] += damping;
  }
  if (start === 0) return panel;
  const before = new Float32Array(rows * start);
  for (let row = 0; row < rows; row++) {
    const from = (start + row) * columns;
    before.set(lower.subarray(from, from + start), row * start);
  }
  const product = await multiply(before, transposed(before, width, start), { m: rows, k: start, n: width });
  for (let i = 0; i < panel.length; i++) panel[i] -= product[i];
  return panel;
}

/** The first `rows` rows of a matrix of `columns` columns, transposed. */
function transposed(matrix: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(columns * rows);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) result[column * rows + row] = matrix[row * columns + column];
  return result;
}

/** Cholesky of the square at the top. The rows below are divided by its transpose. In place. */
function factorPanel(panel: Float32Array, width: number): void {
  const rows = panel.length / width;
  for (let row = 0; row < rows; row++) {
    const end = Math.min(row + 1, width);
    for (let column = 0; column < end; column++) {
      let sum = panel[row * width + column];
      for (let k = 0; k < column; k++) sum -= panel[row * width + k] * panel[column * width + k];
      if (column < row) panel[row * width + column] = sum / panel[column * width + column];
      else if (sum > 0 && sum < Infinity) panel[row * width + column] = Math.sqrt(sum);
      else throw notFinite();
    }
    panel.fill(0, row * width + end, (row + 1) * width);
  }
}

function divideByDiagonal(lower: Float32Array, columns: number): void {
  const inverses = Float64Array.from({ length: columns }, (_, i) => 1 / lower[i * columns + i]);
  for (let row = 0; row < columns; row++)
    for (let column = 0; column <= row; column++) lower[row * columns + column] *= inverses[column];
}

function notFinite(): LacunaError {
  return new LacunaError('non-finite', 'The inputs of a weight are NaN, infinite or too large for their squares', {
    hint: 'Round without them: --rounding search',
  });
}
