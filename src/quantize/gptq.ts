/**
 * Rounds a matrix so that the errors of its columns compensate each other (Frantar et al. 2023, "GPTQ").
 *
 * Columns are rounded one after the other. The error of a column is carried on to later columns, as far as the Gram
 * matrix of the inputs says that they can take it back. Scales and zero points are found before and stay.
 */
import type { Multiply } from '../core/runner.ts';
import {
  type BlockScheme,
  type BytesTensor,
  type QuantizedMatrix,
  quantizedParts,
  type TypedExpr,
  turnableParts,
} from '../core/tensor.ts';
import type { GramFactor } from './factor.ts';
import { codeOf, middleCode, topCode } from './fit.ts';
import { type BlockShape, blockShape, fitRows, type MatrixFits, packCodes, partBytes } from './matrix.ts';
import { fitTurnable, ownCodes, ownScales, turnableScale, turnedCodes, turnedScales } from './turnable.ts';

/** Columns that are rounded before their errors are carried on to all others in one product. */
const STRIP = 64;

export interface RoundedMatrix extends QuantizedMatrix {
  readonly codes: BytesTensor;
  readonly scales: BytesTensor;
  readonly zeroPoints: BytesTensor | undefined;
}

/**
 * The matrix `values` [rows, columns] in blocks of `scheme`. `fitBlock` finds the scales, with errors weighed by the
 * diagonal of the Gram matrix. Codes are chosen so that errors compensate each other.
 *
 * Memory: three times the matrix. `multiply` decides the last bits, and so sometimes a code.
 */
export async function roundCompensated(
  values: Float32Array,
  scheme: BlockScheme,
  factor: GramFactor,
  multiply: Multiply,
): Promise<RoundedMatrix> {
  const { columns, diagonal } = factor;
  const shape = blockShape([values.length / columns, columns], scheme);
  const fits = fitRows(values, diagonal, scheme, shape);
  const blockOf = (row: number, column: number) => row * shape.blocks + Math.floor(column / scheme.blockSize);
  const grid: Grid = {
    ...shape,
    width: shape.blocks * scheme.blockSize,
    top: topCode(scheme.bits),
    scaleOf: (row, column) => fits.scales[blockOf(row, column)],
    zeroPointOf: (row, column) => fits.zeroPoints[blockOf(row, column)],
  };
  const codes = await compensatedCodes(values, zeroCodes(scheme, shape, fits), grid, factor, multiply);
  const parts = quantizedParts([shape.rows, columns], scheme);
  return {
    codes: inMemory(parts.codes, packCodes(codes, scheme, shape)),
    scales: inMemory(parts.scales, partBytes('scales', scheme, shape, fits)),
    zeroPoints: parts.zeroPoints && inMemory(parts.zeroPoints, partBytes('zero-points', scheme, shape, fits)),
  };
}

/** The same for a matrix that is stored along both of its axes (`TurnableMatrix`), its transpose by `scheme`. */
export async function roundTurnable(
  values: Float32Array,
  scheme: BlockScheme,
  factor: GramFactor,
  multiply: Multiply,
): Promise<RoundedMatrix & { readonly turned: RoundedMatrix }> {
  const { columns, diagonal } = factor;
  const shape = blockShape([values.length / columns, columns], scheme);
  const fits = fitTurnable(values, diagonal, scheme, shape);
  const grid: Grid = {
    ...shape,
    width: columns,
    top: topCode(scheme.bits),
    scaleOf: (row, column) => turnableScale(fits, shape, scheme, row, column),
    zeroPointOf: () => middleCode(scheme.bits),
  };
  const codes = await compensatedCodes(values, new Uint8Array(values.length), grid, factor, multiply);
  const { turned, ...parts } = turnableParts([shape.rows, columns], scheme);
  return {
    codes: inMemory(parts.codes, ownCodes(codes, scheme, shape, fits)),
    scales: inMemory(parts.scales, ownScales(shape.rows, scheme, shape, fits)),
    zeroPoints: undefined,
    turned: {
      codes: inMemory(turned.codes, turnedCodes(codes, scheme, shape)),
      scales: inMemory(turned.scales, turnedScales(fits, scheme, shape)),
      zeroPoints: undefined,
    },
  };
}

function inMemory(part: TypedExpr, bytes: Uint8Array): BytesTensor {
  return { kind: 'bytes', ...part, bytes };
}

/** What values are rounded to: scale * (code - zero point), codes from 0 to `top`. */
interface Grid extends Pick<BlockShape, 'rows' | 'columns'> {
  /** Codes a row. */
  readonly width: number;
  readonly top: number;
  readonly scaleOf: (row: number, column: number) => number;
  readonly zeroPointOf: (row: number, column: number) => number;
}

/**
 * Fills `codes`, one a byte [rows, width]. Column j with the values w_j is rounded as x_j = w_j + sum over earlier
 * columns i of U_ij e_i. e_i is w_i minus the rounded w_i.
 */
async function compensatedCodes(
  values: Float32Array,
  codes: Uint8Array,
  grid: Grid,
  factor: GramFactor,
  multiply: Multiply,
): Promise<Uint8Array> {
  const { rows, columns } = grid;
  const errors = new Float32Array(columns * rows);
  for (let start = 0; start < columns; start += STRIP) {
    const width = Math.min(STRIP, columns - start);
    const carried = await carriedOn(errors, factor, start, width, multiply);
    for (let j = 0; j < width; j++) {
      const index = factor.order[start + j];
      const error = errors.subarray((start + j) * rows, (start + j + 1) * rows);
      roundColumn(values, codes, index, carried.subarray(j * rows, (j + 1) * rows), error, grid);
      for (let later = j + 1; later < width; later++)
        addScaled(carried, later * rows, error, factor.upper[(start + j) * columns + start + later]);
    }
  }
  return codes;
}

/** All codes set to their block's zero point, which stays where there is no column. */
function zeroCodes({ blockSize }: BlockScheme, { rows, blocks }: BlockShape, { zeroPoints }: MatrixFits): Uint8Array {
  const codes = new Uint8Array(rows * blocks * blockSize);
  for (let block = 0; block < rows * blocks; block++)
    codes.fill(zeroPoints[block], block * blockSize, (block + 1) * blockSize);
  return codes;
}

/** What all columns before a strip of `width` columns add to these, [width, rows]. */
async function carriedOn(
  errors: Float32Array,
  { columns, upper }: GramFactor,
  start: number,
  width: number,
  multiply: Multiply,
): Promise<Float32Array> {
  const rows = errors.length / columns;
  if (start === 0) return new Float32Array(width * rows);
  const factors = new Float32Array(width * start);
  for (let before = 0; before < start; before++)
    for (let j = 0; j < width; j++) factors[j * start + before] = upper[before * columns + start + j];
  return multiply(factors, errors.subarray(0, start * rows), { m: width, k: start, n: rows });
}

/** Rounds column `index` of all rows; puts its codes into `codes` and what it is off by into `error`. */
function roundColumn(
  values: Float32Array,
  codes: Uint8Array,
  index: number,
  carried: Float32Array,
  error: Float32Array,
  { rows, columns, width, top, scaleOf, zeroPointOf }: Grid,
): void {
  for (let row = 0; row < rows; row++) {
    const [value, scale, zeroPoint] = [values[row * columns + index], scaleOf(row, index), zeroPointOf(row, index)];
    const code = codeOf(value + carried[row], 1 / scale, zeroPoint, top);
    codes[row * width + index] = code;
    error[row] = value - scale * (code - zeroPoint);
  }
}

function addScaled(target: Float32Array, start: number, source: Float32Array, factor: number): void {
  for (let i = 0; i < source.length; i++) target[start + i] += factor * source[i];
}
