/** Adds a product of two thin matrices to a large one while it is streamed. */
import type { LowRankTensor } from '../core/tensor.ts';

/**
 * Blocks of `source` (float32, of any number of elements) with scale * (left right) added, elements counted row by row.
 * Sums are formed in float64 and rounded once. `room` gives the memory of a block.
 */
export async function* lowRankBlocks(
  { shape: [, columns], scale }: LowRankTensor,
  [left, right]: readonly Float32Array[],
  source: AsyncIterable<Uint8Array>,
  room: (byteLength: number) => ArrayBuffer,
): AsyncGenerator<Uint8Array> {
  const rank = right.length / columns;
  const sums = new Float64Array(columns);
  let first = 0;
  for await (const block of source) {
    const target = new Float32Array(room(block.length), 0, block.length / 4);
    target.set(new Float32Array(block.buffer, block.byteOffset, target.length));
    for (let done = 0; done < target.length; ) {
      const row = Math.floor((first + done) / columns);
      const start = (first + done) % columns;
      const count = Math.min(columns - start, target.length - done);
      sums.fill(0, 0, count);
      for (let k = 0; k < rank; k++) {
        const factor = scale * left[row * rank + k];
        const from = k * columns + start;
        for (let j = 0; j < count; j++) sums[j] += factor * right[from + j];
      }
      for (let j = 0; j < count; j++) target[done + j] += sums[j];
      done += count;
    }
    first += target.length;
    yield new Uint8Array(target.buffer, 0, block.length);
  }
}
