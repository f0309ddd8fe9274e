/**
 * Rounds a matrix so that the errors of its columns make up for each other (Frantar et al. 2023, "GPTQ").
 *
 * Columns are rounded one after the other. What one is off by is carried on to those still to come, as far as the inputs'
 * Gram matrix says that they can take it back. Scales and zero points are found before and stay.
 */
import type { Multiply } from '../../src/core/runner.ts';
import {
  type BlockScheme,
  type BytesTensor,
  type QuantizedMatrix,
  quantizedParts,
  squareParts,
  type TypedExpr,
} from '../../src/core/tensor.ts';
import type { GramFactor } from './factor.ts';
import { codeOf, topCode } from './fit.ts';
import { type BlockShape, blockShape, fitRows, type MatrixFits, packCodes, partBytes } from './matrix.ts';
import { turnedCodes, turnedScales } from './turn.ts';

/** Columns that are rounded before what they are off by is carried on to all others in one product. */
const STRIP = 64;

/** The parts of a rounded matrix as tensors in memory. */
export interface RoundedMatrix extends QuantizedMatrix {
  readonly codes: BytesTensor;
  readonly scales: BytesTensor;
  readonly zeroPoints: BytesTensor | undefined;
  /** The transpose in the same blocks, of schemes whose blocks are square. */
  readonly turned: { readonly codes: BytesTensor; readonly scales: BytesTensor } | undefined;
}

/**
 * The matrix `values` [rows, columns] in blocks of `scheme`: scales as `fitBlock` finds them, errors weighed by the
 * diagonal of the Gram matrix; codes so that errors make up for each other.
 *
 * Memory: three times the matrix. `multiply` decides the last bits, and so now and then a code.
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
  const codes = await compensatedCodes(values, { scheme, shape, fits, factor, multiply });
  const parts = quantizedParts([shape.rows, columns], scheme);
  const tensor = (part: TypedExpr, bytes: Uint8Array): BytesTensor => ({ kind: 'bytes', ...part, bytes });
  const { turned } = squareParts([shape.rows, columns], scheme);
  return {
    codes: tensor(parts.codes, packCodes(codes, scheme, shape)),
    scales: tensor(parts.scales, partBytes('scales', scheme, shape, fits)),
    zeroPoints: parts.zeroPoints && tensor(parts.zeroPoints, partBytes('zero-points', scheme, shape, fits)),
    turned: scheme.square && {
      codes: tensor(turned.codes, turnedCodes(codes, scheme, shape)),
      scales: tensor(turned.scales, turnedScales(fits.scales, scheme, shape)),
    },
  };
}

interface Rounding {
  readonly scheme: BlockScheme;
  readonly shape: BlockShape;
  readonly fits: MatrixFits;
  readonly factor: GramFactor;
  readonly multiply: Multiply;
}

/**
 * One a byte, [rows, blocks * blockSize]. Column j, of the values w_j, is rounded as x_j = w_j + sum over the columns i
 * before it of U_ij e_i, where e_i = w_i - what w_i was rounded to.
 */
async function compensatedCodes(values: Float32Array, rounding: Rounding): Promise<Uint8Array> {
  const { scheme, shape, fits, factor, multiply } = rounding;
  const { rows, columns } = shape;
  const codes = zeroCodes(scheme, shape, fits);
  const errors = new Float32Array(columns * rows);
  const column = emptyColumn(rows);
  for (let start = 0; start < columns; start += STRIP) {
    const width = Math.min(STRIP, columns - start);
    const carried = await carriedOn(errors, factor, { start, width, rows }, multiply);
    for (let j = 0; j < width; j++) {
      const index = factor.order[start + j];
      takeColumn(column, values, index, rounding);
      const error = errors.subarray((start + j) * rows, (start + j + 1) * rows);
      roundColumn(column, carried.subarray(j * rows, (j + 1) * rows), error, topCode(scheme.bits));
      putCodes(codes, column.codes, index, rounding);
      for (let later = j + 1; later < width; later++)
        addScaled(carried, later * rows, error, factor.upper[(start + j) * columns + start + later]);
    }
  }
  return codes;
}

/** Each block's zero point as all of its codes: what stays where there is no column. */
function zeroCodes({ blockSize }: BlockScheme, { rows, blocks }: BlockShape, { zeroPoints }: MatrixFits): Uint8Array {
  const codes = new Uint8Array(rows * blocks * blockSize);
  for (let block = 0; block < rows * blocks; block++)
    codes.fill(zeroPoints[block], block * blockSize, (block + 1) * blockSize);
  return codes;
}

interface Strip {
  readonly start: number;
  readonly width: number;
  readonly rows: number;
}

/** What all columns before a strip add to its columns, [width, rows]. */
async function carriedOn(
  errors: Float32Array,
  { columns, upper }: GramFactor,
  { start, width, rows }: Strip,
  multiply: Multiply,
): Promise<Float32Array> {
  if (start === 0) return new Float32Array(width * rows);
  const factors = new Float32Array(width * start);
  for (let before = 0; before < start; before++)
    for (let j = 0; j < width; j++) factors[j * start + before] = upper[before * columns + start + j];
  return multiply(factors, errors.subarray(0, start * rows), { m: width, k: start, n: rows });
}

/** One column of all rows. */
interface Column {
  readonly values: Float32Array;
  readonly scales: Float32Array;
  readonly zeroPoints: Uint8Array;
  readonly codes: Uint8Array;
}

function emptyColumn(rows: number): Column {
  return {
    values: new Float32Array(rows),
    scales: new Float32Array(rows),
    zeroPoints: new Uint8Array(rows),
    codes: new Uint8Array(rows),
  };
}

function takeColumn(
  { values: taken, scales, zeroPoints }: Column,
  values: Float32Array,
  index: number,
  { scheme, shape: { columns, blocks }, fits }: Rounding,
): void {
  const block = Math.floor(index / scheme.blockSize);
  for (let row = 0; row < taken.length; row++) {
    taken[row] = values[row * columns + index];
    scales[row] = fits.scales[row * blocks + block];
    zeroPoints[row] = fits.zeroPoints[row * blocks + block];
  }
}

function putCodes(codes: Uint8Array, column: Uint8Array, index: number, { scheme, shape }: Rounding): void {
  const width = shape.blocks * scheme.blockSize;
  for (let row = 0; row < column.length; row++) codes[row * width + index] = column[row];
}

function roundColumn(
  { values, scales, zeroPoints, codes }: Column,
  carried: Float32Array,
  error: Float32Array,
  top: number,
): void {
  for (let row = 0; row < values.length; row++) {
    const [value, scale, zeroPoint] = [values[row], scales[row], zeroPoints[row]];
    const code = codeOf(value + carried[row], 1 / scale, zeroPoint, top);
    codes[row] = code;
    error[row] = value - scale * (code - zeroPoint);
  }
}

function addScaled(target: Float32Array, start: number, source: Float32Array, factor: number): void {
  for (let i = 0; i < source.length; i++) target[start + i] += factor * source[i];
}
