/** Transposes a matrix that is read a block of rows at a time, without holding all of a large one. */
import { DTYPE_BYTES } from '../core/dtype.ts';
import type { TypedExpr } from '../core/tensor.ts';
import { alignedBlocks } from './pieces.ts';

/**
 * How much of the result is put together at once. A larger matrix is read once for every such strip. On every thread,
 * two strips may be in memory while the first one's blocks are still in use.
 */
const STRIP_BYTES = 32 << 20;

/** Rows that are copied before the next column begins, so that a tile's source lines stay in the first-level cache. */
const TILE = 32;

/**
 * Blocks of the transpose of a matrix: whole rows, with at most `elements` elements unless one row is longer. Each
 * starts at a multiple of 8 of its memory. `readRows(n)` yields the matrix from its start, in blocks of whole rows with
 * at most n elements. A block may be overwritten when the next one is asked for.
 */
export async function* transposeBlocks(
  { dtype, shape }: TypedExpr,
  elements: number,
  readRows: (elements: number) => AsyncIterable<Uint8Array>,
  stripBytes = STRIP_BYTES,
): AsyncGenerator<Uint8Array> {
  if (shape.length !== 2) throw new RangeError(`Only matrices are transposed, not [${shape}]`);
  const [rows, columns] = shape;
  if (rows === 0 || columns === 0) return;
  const size = DTYPE_BYTES[dtype];
  const stripColumns = Math.min(columns, Math.max(1, Math.floor(stripBytes / (rows * size))));
  for (let first = 0; first < columns; first += stripColumns) {
    const width = Math.min(stripColumns, columns - first);
    const strip = new Uint8Array(width * rows * size);
    const target = elementsOf(strip, size);
    let row = 0;
    for await (const block of readRows(wholeRows(elements, columns))) {
      const source = elementsOf(block, size);
      copyTransposed(source, columns, { first, width }, target, rows, row);
      row += source.length / columns;
    }
    yield* alignedBlocks(strip, wholeRows(elements, rows) * size);
  }
}

/** Elements of as many rows as fit into `elements`, at least one row. */
function wholeRows(elements: number, columns: number): number {
  return Math.max(1, Math.floor(elements / columns)) * columns;
}

interface Elements {
  readonly length: number;
  [index: number]: number | bigint;
}

/** Elements as integers of the same size: a transpose moves bits. */
function elementsOf(bytes: Uint8Array, size: number): Elements {
  const { buffer, byteOffset, byteLength } = bytes;
  if (size === 1) return bytes;
  if (size === 2) return new Uint16Array(buffer, byteOffset, byteLength / 2);
  if (size === 4) return new Uint32Array(buffer, byteOffset, byteLength / 4);
  return new BigUint64Array(buffer, byteOffset, byteLength / 8) as Elements;
}

/** target[column - first][firstRow + row] = source[row][column], for all rows of the source and some columns. */
function copyTransposed(
  source: Elements,
  sourceColumns: number,
  { first, width }: { readonly first: number; readonly width: number },
  target: Elements,
  targetColumns: number,
  firstRow: number,
): void {
  const rows = source.length / sourceColumns;
  for (let tile = 0; tile < rows; tile += TILE) {
    const end = Math.min(rows, tile + TILE);
    for (let column = 0; column < width; column++) {
      const to = column * targetColumns + firstRow;
      const from = first + column;
      for (let row = tile; row < end; row++) target[to + row] = source[row * sourceColumns + from];
    }
  }
}
