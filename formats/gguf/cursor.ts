/** Reads numbers and strings from the beginning of a GGUF file, and refuses all that would lie beyond its end. */
import { LacunaError } from '../../src/core/errors.ts';

/** Thrown when the loaded bytes end before the file does: read more and begin again. */
export class EndOfWindow extends Error {
  override readonly name = 'EndOfWindow';
}

export interface Cursor {
  readonly path: string;
  readonly position: number;
  /** What `get` makes of the next `length` bytes. */
  fixed<T>(what: string, length: number, get: (view: DataView, at: number) => T): T;
  uint32(what: string): number;
  uint64(what: string): number | bigint;
  /** A length of 64 bits, of 16 MiB at most, and that number of bytes of UTF-8. */
  string(what: string): string;
  /** A count of things of at least `bytesEach` bytes that follow: at most `limit`, and no more than the file holds. */
  count(what: string, bytesEach: number, limit: Limit): number;
}

/** An upper limit for a number in the file, with the reason why it is not lower: what the largest real file has. */
export interface Limit {
  readonly most: number;
  readonly why: string;
}

const MAX_STRING: Limit = { most: 1 << 24, why: 'chat templates, the longest texts known, have some 100,000 bytes' };

export function openCursor(path: string, bytes: Uint8Array, fileLength: number): Cursor {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let position = 0;
  const take = (length: number, what: string): number => {
    const start = position;
    if (length > fileLength - start)
      throw badGguf(path, `${what} takes ${length} bytes at byte ${start}, but the file has ${fileLength}`);
    if (length > MAX_STRING.most)
      throw badGguf(path, `${what} takes ${length} bytes; the limit is ${MAX_STRING.most}: ${MAX_STRING.why}`);
    if (length > bytes.length - start) throw new EndOfWindow();
    position += length;
    return start;
  };
  const uint64 = (what: string) => asNumber(view.getBigUint64(take(8, what), true));
  return {
    path,
    get position() {
      return position;
    },
    fixed: (what, length, get) => get(view, take(length, what)),
    uint32: (what) => view.getUint32(take(4, what), true),
    uint64,
    string: (what) => {
      const length = uint64(`the length of ${what}`);
      const start = take(Number(length), what);
      try {
        return decoder.decode(bytes.subarray(start, start + Number(length)));
      } catch (cause) {
        throw badGguf(path, `${what} is no UTF-8 text`, cause);
      }
    },
    count: (what, bytesEach, { most, why }) => {
      const count = uint64(what);
      if (count > most) throw badGguf(path, `${what} is ${count}; the limit is ${most}: ${why}`);
      const room = Math.floor((fileLength - position) / bytesEach);
      if (count > room) throw badGguf(path, `${what} is ${count}, but there is room for ${room} in the file`);
      return Number(count);
    },
  };
}

/** A whole number up to 2^53 - 1 as a number, a larger one as it is. */
export function asNumber(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

export function badGguf(path: string, what: string, cause?: unknown): LacunaError {
  return new LacunaError('bad-file', `${path} is no valid GGUF file: ${what}`, {
    hint: 'Download or copy the file again.',
    cause,
  });
}

/** What a GGUF file holds and is not supported here, but may be in the checkpoint that it was made from. */
export function unsupportedGguf(message: string): LacunaError {
  return new LacunaError('unsupported', message, { hint: 'Give the original Hugging Face checkpoint.' });
}
