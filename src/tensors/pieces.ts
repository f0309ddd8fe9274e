/** `source` in pieces of exactly `size` bytes. Asking for the next piece overwrites the last one. */
export async function* inPieces(source: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Uint8Array> {
  const piece = new Uint8Array(size);
  let filled = 0;
  for await (const block of source) {
    for (let start = 0; start < block.length; ) {
      const part = block.subarray(start, start + size - filled);
      piece.set(part, filled);
      start += part.length;
      filled += part.length;
      if (filled < size) break;
      yield piece;
      filled = 0;
    }
  }
}

/** `bytes` in blocks of `step` bytes, each at a multiple of 8 of its memory. */
export function* alignedBlocks(bytes: Uint8Array, step: number): Generator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += step) {
    const block = bytes.subarray(start, start + step);
    yield block.byteOffset % 8 === 0 ? block : block.slice();
  }
}
