/** Puts rows of several tensors side by side while they are streamed. */
import { type RecordsTensor, recordBytes, type TensorExpr } from '../core/tensor.ts';
import type { KeptFits } from '../quantize/index.ts';
import { inPieces } from './pieces.ts';

type Blocks = AsyncIterable<Uint8Array>;

/** A part's bytes in order. Parts of one quantised matrix get the same `fits`. */
type ReadPart = (part: TensorExpr, fits: KeptFits) => Blocks;

/** Blocks of whole records, of at most `bytes` bytes or one record. */
export async function* recordsBlocks(
  { parts, shape: [rows, size] }: RecordsTensor,
  bytes: number,
  read: ReadPart,
): AsyncGenerator<Uint8Array> {
  const streams = await partStreams(parts, read);
  const sources = parts.map((part, i) => inPieces(streams[i], recordBytes(part, rows)));
  const step = Math.max(1, Math.floor(bytes / size));
  try {
    for (let row = 0; row < rows; row += step) {
      const block = new Uint8Array(Math.min(step, rows - row) * size);
      for (let start = 0; start < block.length; start += size) await fillRecord(sources, block.subarray(start));
      yield block;
    }
  } finally {
    // If it is broken off, files are open.
    for (const source of sources) await source.return(undefined);
  }
}

/** Finding scales takes nearly all the time of quantising. So they are read first, as a whole, and found only once. */
async function partStreams(parts: readonly TensorExpr[], read: ReadPart): Promise<readonly Blocks[]> {
  const fits = new Map(parts.map((part): [TensorExpr, KeptFits] => [matrixOf(part), {}]));
  const streams: Blocks[] = [];
  for (const part of parts) {
    const stream = read(part, fits.get(matrixOf(part)) ?? {});
    const isFit = part.kind === 'quantize' && !part.part.endsWith('codes');
    streams.push(isFit ? await held(stream) : stream);
  }
  return streams;
}

function matrixOf(part: TensorExpr): TensorExpr {
  return part.kind === 'quantize' ? part.from : part;
}

/** The same blocks, in memory of their own. */
async function held(blocks: Blocks): Promise<Blocks> {
  const copies: Uint8Array[] = [];
  for await (const block of blocks) copies.push(block.slice());
  return (async function* () {
    yield* copies;
  })();
}

async function fillRecord(sources: readonly AsyncGenerator<Uint8Array>[], record: Uint8Array): Promise<void> {
  let filled = 0;
  for (const source of sources) {
    const { value: piece } = await source.next();
    record.set(piece, filled);
    filled += piece.length;
  }
}
