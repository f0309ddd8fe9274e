/** Puts rows of several tensors side by side while they are streamed. */
import { type RecordsTensor, recordBytes, type TensorExpr } from '../../src/core/tensor.ts';
import { inPieces } from './pieces.ts';

/** Blocks of whole records, of at most `bytes` bytes or one record. `read` gives a part's bytes in order. */
export async function* recordsBlocks(
  { parts, shape: [rows, size] }: RecordsTensor,
  bytes: number,
  read: (part: TensorExpr) => AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const sources = parts.map((part) => inPieces(read(part), recordBytes(part, rows)));
  const step = Math.max(1, Math.floor(bytes / size));
  try {
    for (let row = 0; row < rows; row += step) {
      const block = new Uint8Array(Math.min(step, rows - row) * size);
      for (let start = 0; start < block.length; start += size) await fillRecord(sources, block.subarray(start));
      yield block;
    }
  } finally {
    // What is broken off has files open.
    for (const source of sources) await source.return(undefined);
  }
}

async function fillRecord(sources: readonly AsyncGenerator<Uint8Array>[], record: Uint8Array): Promise<void> {
  let filled = 0;
  for (const source of sources) {
    const { value: piece } = await source.next();
    record.set(piece, filled);
    filled += piece.length;
  }
}
