/** A matrix in blocks: scale and zero point of each block, the codes, and their bytes as MatMulNBits takes them. */
import { type BlockScheme, hasPlanes, PLANE_BLOCK_SIZE } from '../core/tensor.ts';
import { codeOf, fitBlock, middleCode, topCode } from './fit.ts';
import { castFloats } from './float-cast.ts';

export interface BlockShape {
  readonly rows: number;
  readonly columns: number;
  /** Blocks in a row. */
  readonly blocks: number;
}

export function blockShape(shape: readonly number[], { blockSize }: BlockScheme): BlockShape {
  if (shape.length !== 2) throw new RangeError(`Only matrices are quantised, not [${shape}]`);
  return { rows: shape[0], columns: shape[1], blocks: Math.ceil(shape[1] / blockSize) };
}

export interface MatrixFits {
  /** Numbers that float16 can hold. */
  readonly scales: Float32Array;
  /** One a byte, unpacked. */
  readonly zeroPoints: Uint8Array;
}

/** Finds scale and zero point of every block of whole rows. `weights` are by column, as in `Block`. */
export function fitRows(
  values: Float32Array,
  weights: Float32Array,
  scheme: BlockScheme,
  { columns, blocks }: BlockShape,
): MatrixFits {
  const rows = values.length / columns;
  const scales = new Float32Array(rows * blocks);
  const zeroPoints = new Uint8Array(rows * blocks);
  for (let row = 0, block = 0; row < rows; row++) {
    for (let firstColumn = 0; firstColumn < columns; firstColumn += scheme.blockSize, block++) {
      const length = Math.min(scheme.blockSize, columns - firstColumn);
      const start = row * columns + firstColumn;
      const fit = fitBlock({ values, start, firstColumn, length, weights }, scheme);
      scales[block] = fit.scale;
      zeroPoints[block] = fit.zeroPoint;
    }
  }
  return { scales, zeroPoints };
}

/** Nearest codes of whole rows, one a byte. Past the last column, the code is the zero point, which stands for 0. */
export function encodeRows(
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
  return codes;
}

/** The bytes of codes that are given one a byte, [rows, blocks * blockSize]. */
export function packCodes(codes: Uint8Array, { bits, blockSize }: BlockScheme, { blocks }: BlockShape): Uint8Array {
  const width = blocks * blockSize;
  return hasPlanes(bits) ? packPlanes(codes, width, bits) : pack(codes, width, bits);
}

/** The bytes of scales or zero points of whole rows. */
export function partBytes(
  part: 'scales' | 'zero-points',
  { bits }: BlockScheme,
  { blocks }: BlockShape,
  { scales, zeroPoints }: MatrixFits,
): Uint8Array {
  if (part === 'scales') return scaleBytes(scales);
  return hasPlanes(bits) ? zeroPoints.map((code) => code + planeOffset(bits)) : pack(zeroPoints, blocks, bits);
}

/** What makes a code in planes one of 8 bits: the middle code becomes 128. */
function planeOffset(bits: 5 | 6): number {
  return middleCode(8) - middleCode(bits);
}

/** As float16. */
export function scaleBytes(scales: Float32Array): Uint8Array {
  const halves = new Uint8Array(2 * scales.length);
  // From a copy, which starts at a multiple of 8. Nothing is lost, because float16 can hold the scales of fits.
  castFloats(new Uint8Array(scales.slice().buffer), 'float32', halves, 'float16');
  return halves;
}

/** Rows of `width` codes each, packed low bits first. A row's last byte is filled with the middle code. */
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

/** Rows of `width` codes each in planes (`hasPlanes`). */
function packPlanes(codes: Uint8Array, width: number, bits: 5 | 6): Uint8Array {
  const rows = codes.length / width;
  const half = PLANE_BLOCK_SIZE / 2;
  const plane = width / 8;
  const packed = new Uint8Array(rows * bits * plane);
  for (let row = 0; row < rows; row++) {
    const upper = row * bits * plane;
    const lower = upper + (bits - 4) * plane;
    for (let column = 0; column < width; column++) {
      const code = codes[row * width + column];
      const isLast = column % PLANE_BLOCK_SIZE >= half;
      // Its place among the first columns of all blocks, or among the last ones.
      const place = Math.floor(column / PLANE_BLOCK_SIZE) * half + (column % half);
      packed[lower + place] |= (code & 15) << (isLast ? 4 : 0);
      const bit = place + (isLast ? width / 2 : 0);
      for (let upperBit = 4; upperBit < bits; upperBit++)
        packed[upper + (upperBit - 4) * plane + (bit >> 3)] |= ((code >> upperBit) & 1) << (bit & 7);
    }
  }
  return packed;
}
