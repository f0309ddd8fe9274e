/** The transpose of a matrix in square blocks: its codes in another order, under the same scales. */
import type { BlockScheme } from '../../src/core/tensor.ts';
import { middleCode } from './fit.ts';
import { type BlockShape, packCodes, scaleBytes } from './matrix.ts';

/** Blocks of a column of the matrix, which are those of a row of its transpose. */
function turnedShape({ rows, columns }: BlockShape, { blockSize }: BlockScheme): BlockShape {
  return { rows: columns, columns: rows, blocks: Math.ceil(rows / blockSize) };
}

/** The bytes of the transpose's codes; `codes` are the matrix's, one a byte [rows, blocks * blockSize]. */
export function turnedCodes(codes: Uint8Array, scheme: BlockScheme, shape: BlockShape): Uint8Array {
  const { blockSize, bits } = scheme;
  const turned = turnedShape(shape, scheme);
  const width = shape.blocks * blockSize;
  const turnedWidth = turned.blocks * blockSize;
  const result = new Uint8Array(shape.columns * turnedWidth);
  // What is past the last row stands for 0.
  if (turnedWidth > shape.rows) result.fill(middleCode(bits));
  // A few rows at a time: what they are spread over stays in a processor's cache.
  for (let first = 0; first < shape.rows; first += blockSize) {
    const end = Math.min(shape.rows, first + blockSize);
    for (let column = 0; column < shape.columns; column++)
      for (let row = first; row < end; row++) result[column * turnedWidth + row] = codes[row * width + column];
  }
  return packCodes(result, scheme, turned);
}

/** The bytes of the transpose's scales; `scales` are the matrix's [rows * blocks], alike in all rows of a block. */
export function turnedScales(scales: Float32Array, scheme: BlockScheme, shape: BlockShape): Uint8Array {
  const { blockSize } = scheme;
  const { blocks } = turnedShape(shape, scheme);
  const result = new Float32Array(shape.columns * blocks);
  for (let column = 0; column < shape.columns; column++)
    for (let block = 0; block < blocks; block++)
      result[column * blocks + block] = scales[block * blockSize * shape.blocks + Math.floor(column / blockSize)];
  return scaleBytes(result);
}
