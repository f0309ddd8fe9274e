/** Takes some rows of a matrix while it is streamed. */
import { DTYPE_BYTES, elementCount } from '../core/dtype.ts';
import type { RowsTensor } from '../core/tensor.ts';
import { alignedBlocks } from './pieces.ts';

/** Elements read at a time, at least one row. */
const READ_ELEMENTS = 1 << 18;

/**
 * Blocks of at most `elements` elements, each at a multiple of 8 of its memory. `read` gives `expr.from` in order, in
 * whole rows.
 */
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
