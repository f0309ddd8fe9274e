/**
 * Turnable matrices (`TurnableMatrix`): the transpose's scales are whole multiples of one unit in each square. This
 * file finds them and makes the bytes of both orientations.
 */
import type { BlockScheme, CodeBits } from '../core/tensor.ts';
import { codeOf, fitBlock, inRange, middleCode, topCode } from './fit.ts';
import { type BlockShape, packCodes, scaleBytes } from './matrix.ts';

/** For a matrix [rows, columns], or for some of its rows that begin a square. */
export interface TurnableFits {
  /** For each square, [row blocks, column blocks]: float16 numbers; all their multiples are float16 too. */
  readonly units: Float32Array;
  /** How many units the scale of a column is, [row blocks, columns]. Never 0; negative for the other sign. */
  readonly multiples: Int8Array;
}

function rowBlocks({ rows }: BlockShape, { blockSize }: BlockScheme): number {
  return Math.ceil(rows / blockSize);
}

export function roomForTurnable(shape: BlockShape, scheme: BlockScheme): TurnableFits {
  const blocks = rowBlocks(shape, scheme);
  return { units: new Float32Array(blocks * shape.blocks), multiples: new Int8Array(blocks * shape.columns) };
}

/** Of either sign. Times the lowest code (-8 of 4 bits), it is still a code of 8 bits. */
const LARGEST_MULTIPLE = { 4: 15, 5: 7, 6: 3, 8: 1 } as const;

/** Finds units and multiples of whole rows. `weights` are by column, as in `Block`. */
export function fitTurnable(
  values: Float32Array,
  weights: Float32Array,
  scheme: BlockScheme,
  whole: BlockShape,
): TurnableFits {
  const shape = { ...whole, rows: values.length / whole.columns };
  const fits = roomForTurnable(shape, scheme);
  for (let rowBlock = 0; rowBlock < rowBlocks(shape, scheme); rowBlock++)
    for (let block = 0; block < shape.blocks; block++) fitSquare(values, weights, scheme, shape, fits, rowBlock, block);
  return fits;
}

/** In 8 bits the only multiple is 1, so the square is fitted as a whole. In 4 bits every column is fitted first. */
function fitSquare(
  values: Float32Array,
  weights: Float32Array,
  scheme: BlockScheme,
  { rows, columns, blocks }: BlockShape,
  { units, multiples }: TurnableFits,
  rowBlock: number,
  block: number,
): void {
  const { blockSize, bits } = scheme;
  const firstRow = rowBlock * blockSize;
  const height = Math.min(blockSize, rows - firstRow);
  const firstColumn = block * blockSize;
  const width = Math.min(blockSize, columns - firstColumn);
  // One column of the square after the other.
  const square = new Float32Array(width * height);
  const squareWeights = new Float32Array(width * height);
  for (let j = 0; j < width; j++)
    for (let i = 0; i < height; i++) {
      square[j * height + i] = values[(firstRow + i) * columns + firstColumn + j];
      squareWeights[j * height + i] = weights[firstColumn + j];
    }
  const bestScale = (start: number, length: number) =>
    fitBlock({ values: square, start, firstColumn: start, length, weights: squareWeights }, scheme).scale;
  if (bits === 8) {
    units[rowBlock * blocks + block] = bestScale(0, width * height);
    multiples.fill(1, rowBlock * columns + firstColumn, rowBlock * columns + firstColumn + width);
    return;
  }
  const wanted = Array.from({ length: width }, (_, j) => bestScale(j * height, height));
  const unit = unitOf(largestOf(wanted, square, height), LARGEST_MULTIPLE[bits]);
  units[rowBlock * blocks + block] = unit;
  for (let j = 0; j < width; j++) {
    const column = square.subarray(j * height, (j + 1) * height);
    multiples[rowBlock * columns + firstColumn + j] = multipleOf(wanted[j], unit, column, bits);
  }
}

/** Of columns that are not all zeros. All-zero columns have the scale 1, which would make all others coarse. */
function largestOf(scales: readonly number[], square: Float32Array, height: number): number {
  const isSet = (j: number) => square.subarray(j * height, (j + 1) * height).some((value) => value !== 0);
  return Math.max(0, ...scales.map((scale, j) => (isSet(j) ? Math.abs(scale) : 0)));
}

/**
 * A scale such that `most` units are at least `largest`, with so few digits that every multiple is a float16: 7 bits,
 * and 4 of the multiple. Throws as `fitBlock` does for a scale beyond float16.
 */
function unitOf(largest: number, most: number): number {
  // All zeros: any unit gives them back.
  if (largest === 0) return 1;
  const least = largest / most;
  const digit = Math.max(2 ** (Math.floor(Math.log2(least)) - 6), 2 ** -24);
  const unit = Math.ceil(least / digit) * digit;
  inRange(unit * most);
  return unit;
}

/** The better of the two whole multiples next to a scale, for rounding the column. */
function multipleOf(scale: number, unit: number, column: Float32Array, bits: CodeBits): number {
  const sign = scale < 0 ? -1 : 1;
  const below = Math.max(1, Math.min(LARGEST_MULTIPLE[bits], Math.floor(Math.abs(scale) / unit)));
  const above = Math.min(LARGEST_MULTIPLE[bits], below + 1);
  const error = (multiple: number) => squaredError(column, sign * multiple * unit, bits);
  return sign * (error(below) <= error(above) ? below : above);
}

function squaredError(column: Float32Array, scale: number, bits: CodeBits): number {
  const [middle, top] = [middleCode(bits), topCode(bits)];
  let sum = 0;
  for (const value of column) sum += (value - scale * (codeOf(value, 1 / scale, middle, top) - middle)) ** 2;
  return sum;
}

/** The scale of a column in the block of a row. */
export function turnableScale(
  { units, multiples }: TurnableFits,
  { columns, blocks }: BlockShape,
  { blockSize }: BlockScheme,
  row: number,
  column: number,
): number {
  const rowBlock = Math.floor(row / blockSize);
  const multiple = multiples[rowBlock * columns + column];
  return multiple * units[rowBlock * blocks + Math.floor(column / blockSize)];
}

/** Nearest codes of whole rows, one a byte [rows, columns]. */
export function encodeTurnable(
  values: Float32Array,
  scheme: BlockScheme,
  shape: BlockShape,
  fits: TurnableFits,
): Uint8Array {
  const [middle, top] = [middleCode(scheme.bits), topCode(scheme.bits)];
  const codes = new Uint8Array(values.length);
  for (let at = 0; at < values.length; at++) {
    const scale = turnableScale(fits, shape, scheme, Math.floor(at / shape.columns), at % shape.columns);
    codes[at] = codeOf(values[at], 1 / scale, middle, top);
  }
  return codes;
}

/** The bytes of the matrix's own codes: multiple times the transpose's code, in 8 bits [rows, blocks * blockSize]. */
export function ownCodes(codes: Uint8Array, scheme: BlockScheme, shape: BlockShape, fits: TurnableFits): Uint8Array {
  const { blockSize, bits } = scheme;
  const width = shape.blocks * blockSize;
  const rows = codes.length / shape.columns;
  const result = new Uint8Array(rows * width).fill(middleCode(8));
  for (let row = 0; row < rows; row++) {
    const first = Math.floor(row / blockSize) * shape.columns;
    for (let column = 0; column < shape.columns; column++) {
      const code = codes[row * shape.columns + column] - middleCode(bits);
      result[row * width + column] = middleCode(8) + fits.multiples[first + column] * code;
    }
  }
  return result;
}

/** The bytes of the matrix's own scales, [rows * blocks]. Every row has the scales of its square. */
export function ownScales(rows: number, { blockSize }: BlockScheme, { blocks }: BlockShape, { units }: TurnableFits) {
  return scaleBytes(
    Float32Array.from({ length: rows * blocks }, (_, at) => {
      const row = Math.floor(at / blocks);
      return units[Math.floor(row / blockSize) * blocks + (at % blocks)];
    }),
  );
}

/** The bytes of the transpose's codes. `codes` are all codes of the matrix, one a byte [rows, columns]. */
export function turnedCodes(codes: Uint8Array, scheme: BlockScheme, { rows, columns }: BlockShape): Uint8Array {
  const { blockSize, bits } = scheme;
  const turned = { rows: columns, columns: rows, blocks: Math.ceil(rows / blockSize) };
  const width = turned.blocks * blockSize;
  const result = new Uint8Array(columns * width);
  // Places past the last row stand for 0.
  if (width > rows) result.fill(middleCode(bits));
  // A few rows at a time, so that their targets stay in the processor's cache.
  for (let first = 0; first < rows; first += blockSize) {
    const end = Math.min(rows, first + blockSize);
    for (let column = 0; column < columns; column++)
      for (let row = first; row < end; row++) result[column * width + row] = codes[row * columns + column];
  }
  return packCodes(result, scheme, turned);
}

/** The bytes of the transpose's scales, [columns * row blocks]. */
export function turnedScales(fits: TurnableFits, scheme: BlockScheme, shape: BlockShape): Uint8Array {
  const blocks = rowBlocks(shape, scheme);
  return scaleBytes(
    Float32Array.from({ length: shape.columns * blocks }, (_, at) => {
      const [column, block] = [Math.floor(at / blocks), at % blocks];
      return turnableScale(fits, shape, scheme, block * scheme.blockSize, column);
    }),
  );
}
