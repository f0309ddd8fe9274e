/** Quantises a float matrix that is read a few rows at a time: codes, scales and zero points as MatMulNBits takes them. */
import { elementCount } from '../../src/core/dtype.ts';
import type { BlockScheme, QuantizedPart, QuantizeTensor } from '../../src/core/tensor.ts';
import { codeOf, type Fit, fitBlock, middleCode, topCode } from './fit.ts';

/** Floats that are read and quantised at a time; a row at least. */
const CHUNK_ELEMENTS = 1 << 20;

/** Fits of more bytes than this are found again for each part instead of being kept. */
const KEPT_BYTES = 64 << 20;

/**
 * Scale and zero point of each block of the matrix quantised last. The parts of a matrix are mostly wanted one after
 * the other, and finding the scales takes nearly all the time.
 */
export interface KeptFits {
  last: { readonly tensor: QuantizeTensor; readonly fits: MatrixFits } | undefined;
}

export function keptFits(): KeptFits {
  return { last: undefined };
}

interface MatrixFits {
  readonly scales: Float32Array;
  /** One a byte, unpacked. */
  readonly zeroPoints: Uint8Array;
}

export interface QuantizeSources {
  /** The matrix as float32 from its first row, in blocks of whole rows of at most `elements` elements. */
  readonly readRows: (elements: number) => AsyncIterable<Uint8Array>;
  /** What each column's squared error weighs; undefined: all the same. */
  readonly weights: Float32Array | undefined;
}

/** Blocks of the bytes of one part, whole rows each. The bytes of all parts follow from the rows alone. */
export async function* quantizeBlocks(
  tensor: QuantizeTensor,
  { readRows, weights }: QuantizeSources,
  kept: KeptFits,
): AsyncGenerator<Uint8Array> {
  const shape = blockShape(tensor);
  if (elementCount(tensor.from.shape) === 0) return;
  const known = kept.last !== undefined && sameMatrix(kept.last.tensor, tensor) ? kept.last.fits : undefined;
  if (known !== undefined && tensor.part !== 'codes') {
    yield partBytes(tensor.part, tensor.scheme, shape, known);
    return;
  }
  const columnWeights = weights ?? new Float32Array(shape.columns).fill(1);
  const all = known === undefined ? roomForAll(shape) : undefined;
  const step = Math.max(1, Math.floor(CHUNK_ELEMENTS / shape.columns)) * shape.columns;
  let row = 0;
  for await (const block of readRows(step)) {
    const values = new Float32Array(block.buffer, block.byteOffset, block.byteLength / 4);
    const rows = values.length / shape.columns;
    const fits =
      known === undefined ? fitRows(values, columnWeights, tensor.scheme, shape) : cut(known, row, rows, shape);
    if (all !== undefined) put(all, fits, row * shape.blocks);
    yield tensor.part === 'codes'
      ? encodeRows(values, tensor.scheme, shape, fits)
      : partBytes(tensor.part, tensor.scheme, shape, fits);
    row += rows;
  }
  if (all !== undefined) kept.last = { tensor, fits: all };
}

interface BlockShape {
  readonly rows: number;
  readonly columns: number;
  /** Blocks a row. */
  readonly blocks: number;
}

function blockShape({ from: { shape }, scheme: { blockSize } }: QuantizeTensor): BlockShape {
  if (shape.length !== 2) throw new RangeError(`Only matrices are quantised, not [${shape}]`);
  return { rows: shape[0], columns: shape[1], blocks: Math.ceil(shape[1] / blockSize) };
}

/** By identity: the parts of a matrix are made together and share what they are made from. */
function sameMatrix(a: QuantizeTensor, b: QuantizeTensor): boolean {
  return a.from === b.from && a.scheme === b.scheme && a.importance === b.importance;
}

function roomFor(blocks: number): MatrixFits {
  return { scales: new Float32Array(blocks), zeroPoints: new Uint8Array(blocks) };
}

function roomForAll({ rows, blocks }: BlockShape): MatrixFits | undefined {
  return rows * blocks * 5 <= KEPT_BYTES ? roomFor(rows * blocks) : undefined;
}

function put(all: MatrixFits, part: MatrixFits, start: number): void {
  all.scales.set(part.scales, start);
  all.zeroPoints.set(part.zeroPoints, start);
}

function cut({ scales, zeroPoints }: MatrixFits, row: number, rows: number, { blocks }: BlockShape): MatrixFits {
  const [start, end] = [row * blocks, (row + rows) * blocks];
  return { scales: scales.subarray(start, end), zeroPoints: zeroPoints.subarray(start, end) };
}

function fitRows(
  values: Float32Array,
  weights: Float32Array,
  scheme: BlockScheme,
  { columns, blocks }: BlockShape,
): MatrixFits {
  const rows = values.length / columns;
  const { scales, zeroPoints } = roomFor(rows * blocks);
  for (let row = 0, block = 0; row < rows; row++) {
    for (let firstColumn = 0; firstColumn < columns; firstColumn += scheme.blockSize, block++) {
      const length = Math.min(scheme.blockSize, columns - firstColumn);
      const start = row * columns + firstColumn;
      const fit: Fit = fitBlock({ values, start, firstColumn, length, weights }, scheme);
      scales[block] = fit.scale;
      zeroPoints[block] = fit.zeroPoint;
    }
  }
  return { scales, zeroPoints };
}

/** Codes of whole rows; what is past the last column gets the zero point's code, which stands for 0. */
function encodeRows(
  values: Float32Array,
  { bits, blockSize }: BlockScheme,
  { columns, blocks }: BlockShape,
  { scales, zeroPoints }: MatrixFits,
): Uint8Array {
  const rows = values.length / columns;
  const top = topCode(bits);
  const codes = new Uint8Array(rows * blocks * blockSize);
  for (let row = 0, block = 0; row < rows; row++) {
    for (let firstColumn = 0; firstColumn < columns; firstColumn += blockSize, block++) {
      const [inverse, zeroPoint] = [1 / scales[block], zeroPoints[block]];
      const length = Math.min(blockSize, columns - firstColumn);
      const [from, to] = [row * columns + firstColumn, block * blockSize];
      for (let i = 0; i < length; i++) codes[to + i] = codeOf(values[from + i], inverse, zeroPoint, top);
      if (length < blockSize) codes.fill(zeroPoint, to + length, to + blockSize);
    }
  }
  return pack(codes, blocks * blockSize, bits);
}

function partBytes(
  part: QuantizedPart,
  { bits }: BlockScheme,
  { blocks }: BlockShape,
  { scales, zeroPoints }: MatrixFits,
): Uint8Array {
  if (part === 'zero-points') return pack(zeroPoints, blocks, bits);
  // A copy, so that it starts at a multiple of 8 and nobody holds what is kept.
  return new Uint8Array(scales.slice().buffer);
}

/** Rows of `width` codes each, packed low bits first; a row's last byte is filled up with the middle code. */
function pack(codes: Uint8Array, width: number, bits: number): Uint8Array {
  if (bits === 8) return codes.slice();
  const bytes = Math.ceil(width / 2);
  const rows = codes.length / width;
  const packed = new Uint8Array(rows * bytes);
  for (let row = 0; row < rows; row++) {
    const [from, to] = [row * width, row * bytes];
    for (let i = 0; i < bytes; i++) {
      const high = 2 * i + 1 < width ? codes[from + 2 * i + 1] : middleCode(bits);
      packed[to + i] = codes[from + 2 * i] | (high << 4);
    }
  }
  return packed;
}
