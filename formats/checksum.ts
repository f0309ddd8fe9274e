/**
 * CRC-32 of files while they are written: tells a damaged or cut copy from a whole one. It is no proof against intent;
 * a cryptographic hash would be, and made converting visibly slower.
 */
import { crc32 } from 'node:zlib';

export interface ChecksummedStream {
  /** The same blocks. */
  readonly blocks: AsyncGenerator<Uint8Array>;
  /** Of the blocks so far. */
  readonly checksum: () => string;
}

export function checksummed(source: AsyncIterable<Uint8Array>): ChecksummedStream {
  let sum = 0;
  async function* pass(): AsyncGenerator<Uint8Array> {
    for await (const block of source) {
      // zlib starts over when it is given no bytes.
      if (block.length > 0) sum = crc32(block, sum);
      yield block;
    }
  }
  return { blocks: pass(), checksum: () => hex(sum) };
}

/** CRC-32 (zlib's) as eight hexadecimal digits. */
export function checksumOf(data: Uint8Array): string {
  return hex(crc32(data));
}

function hex(sum: number): string {
  return sum.toString(16).padStart(8, '0');
}
