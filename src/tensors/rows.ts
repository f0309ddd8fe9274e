/** Takes or reorders rows of a tensor while it is streamed. */
import { byteLength, DTYPE_BYTES, elementCount } from '../core/dtype.ts';
import type { RegroupTensor, RowsTensor } from '../core/tensor.ts';
import { alignedBlocks, inPieces } from './pieces.ts';

/** Elements read at a time, at least one row. */
const READ_ELEMENTS = 1 << 18;

/** Blocks of at most `elements` elements, each at a multiple of 8 of its memory. `read` gives `from` in whole rows. */
export async function* rowsBlocks(
  { rows, shape, dtype }: RowsTensor,
  elements: number,
  read: (elements: number) => AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const width = elementCount(shape.slice(1));
  const rowBytes = width * DTYPE_BYTES[dtype];
  const taken = new Uint8Array(rows.length * rowBytes);
  let [first, next] = [0, 0];
  for await (const block of read(width * Math.max(1, Math.floor(READ_ELEMENTS / width)))) {
    const end = first + block.length / rowBytes;
    for (; rows[next] < end; next++) {
      const start = (rows[next] - first) * rowBytes;
      taken.set(block.subarray(start, start + rowBytes), next * rowBytes);
    }
    first = end;
  }
  yield* alignedBlocks(taken, elements * DTYPE_BYTES[dtype]);
}

/** The same for rows in another order, one group in memory. `source` gives `expr.from` in blocks of any size. */
export async function* regroupBlocks(
  { shape, dtype, groups, columns }: RegroupTensor,
  elements: number,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const rowBytes = byteLength(dtype, shape.slice(1));
  const groupRows = shape[0] / groups;
  for await (const group of inPieces(source, groupRows * rowBytes)) {
    const ordered = transposeRows(group, groupRows / columns, columns, rowBytes);
    yield* alignedBlocks(ordered, elements * DTYPE_BYTES[dtype]);
  }
}

function transposeRows(from: Uint8Array, rows: number, columns: number, rowBytes: number): Uint8Array {
  const to = new Uint8Array(from.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const start = (row * columns + column) * rowBytes;
      to.set(from.subarray(start, start + rowBytes), (column * rows + row) * rowBytes);
    }
  return to;
}
