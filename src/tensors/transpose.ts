/** Transposes a matrix that is read a block of rows at a time, without holding all of a large one. */
import { DTYPE_BYTES, type DType } from '../core/dtype.ts';
import { alignedBlocks } from './pieces.ts';

/**
 * How much of the result is put together at once. A larger matrix is read once for every such strip. On every thread,
 * two strips may be in memory while the first one's blocks are still in use.
 */
const STRIP_BYTES = 32 << 20;

/** Rows that are copied before the next column begins, so that a tile's source lines stay in the first-level cache. */
const TILE = 32;

interface Matrix {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/**
 * Blocks of the transpose of a matrix: whole rows, with at most `elements` elements unless one row is longer. Each
 * starts at a multiple of 8 of its memory. `readRows(n)` yields the matrix from its start, in blocks of whole rows with
 * at most n elements. A block may be overwritten when the next one is asked for.
 */
export async function* transposeBlocks(
  matrix: Matrix,
  elements: number,
  readRows: (elements: number) => AsyncIterable<Uint8Array>,
  stripBytes = STRIP_BYTES,
): AsyncGenerator<Uint8Array> {
  const [rows, columns] = dimensions(matrix);
  if (rows === 0 || columns === 0) return;
  const size = DTYPE_BYTES[matrix.dtype];
  const stripColumns = Math.min(columns, Math.max(1, Math.floor(stripBytes / (rows * size))));
  for (let first = 0; first < columns; first += stripColumns) {
    const width = Math.min(stripColumns, columns - first);
    const strip = new Uint8Array(width * rows * size);
    await fillStrip(matrix, readRows(wholeRows(elements, columns)), strip, { first, width });
    yield* alignedBlocks(strip, wholeRows(elements, rows) * size);
  }
}

function dimensions({ shape }: Matrix): readonly [number, number] {
  if (shape.length !== 2) throw new RangeError(`Only matrices are transposed, not [${shape}]`);
  return [shape[0], shape[1]];
}

/** Elements of as many rows as fit into `elements`, at least one row. */
function wholeRows(elements: number, columns: number): number {
  return Math.max(1, Math.floor(elements / columns)) * columns;
}

interface Columns {
  readonly first: number;
  readonly width: number;
}

/** Puts some columns of a matrix into the rows of `strip`, in one pass over the matrix. */
async function fillStrip(
  matrix: Matrix,
  blocks: AsyncIterable<Uint8Array>,
  strip: Uint8Array,
  columns: Columns,
): Promise<void> {
  const [rows, sourceColumns] = dimensions(matrix);
  const size = DTYPE_BYTES[matrix.dtype];
  const target = elementsOf(strip, size);
  let row = 0;
  for await (const block of blocks) {
    const source = elementsOf(block, size);
    copyTransposed(source, sourceColumns, columns, target, rows, row);
    row += source.length / sourceColumns;
  }
}

interface Elements<T> {
  readonly length: number;
  [index: number]: T;
}

/** Elements as integers of the same size: a transpose moves bits. */
function elementsOf(bytes: Uint8Array, size: number): Elements<number | bigint> {
  const { buffer, byteOffset, byteLength } = bytes;
  if (size === 1) return bytes;
  if (size === 2) return new Uint16Array(buffer, byteOffset, byteLength / 2);
  if (size === 4) return new Uint32Array(buffer, byteOffset, byteLength / 4);
  return new BigUint64Array(buffer, byteOffset, byteLength / 8) as Elements<number | bigint>;
}

/** target[column - first][firstRow + row] = source[row][column], for all rows of the source and some columns. */
function copyTransposed<T>(
  source: Elements<T>,
  sourceColumns: number,
  { first, width }: Columns,
  target: Elements<T>,
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
