/** Reorders rows within groups while they are streamed, holding one group of them. */
import { byteLength, DTYPE_BYTES } from '../core/dtype.ts';
import type { RegroupTensor } from '../core/tensor.ts';
import { alignedBlocks, inPieces } from './pieces.ts';

/**
 * Blocks of at most `elements` elements of the reordered rows, each at a multiple of 8 of its memory. `source` is all
 * of `expr.from` in order, in blocks of any size. A block of it may be overwritten when the next one is asked for.
 */
export async function* regroupBlocks(
  expr: RegroupTensor,
  elements: number,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const { shape, dtype, groups, columns } = expr;
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
