/** Opens a path that may be anything. A device, a pipe or an endless file must not cost memory or time. */
import { constants, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { LacunaError } from '../src/core/errors.ts';
import { asIoError } from '../src/core/io-error.ts';

/** Without this flag, opening a pipe waits for a writer. Windows has neither. */
const FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/** Some systems refuse to read more at a time. */
const MOST_AT_ONCE = 1 << 30;

/**
 * What `use` makes of a regular file, or a link to one, and its size. The check is on the open file, so nothing can be
 * put in its place afterwards.
 *
 * Throws 'not-found' or 'io' when it cannot be opened or read, 'bad-file' for folders, devices, pipes and sockets.
 */
export async function withRegular<T>(path: string, use: (file: FileHandle, size: number) => Promise<T>): Promise<T> {
  try {
    const file = await open(path, FLAGS);
    try {
      const stats = await file.stat();
      if (stats.isFile()) return await use(file, stats.size);
      throw new LacunaError('bad-file', `${path} is ${kindOf(stats)}, not a regular file`, {
        hint: 'Give a file. What comes from a pipe or a device must be written to a file first.',
      });
    } finally {
      await file.close();
    }
  } catch (error) {
    throw asIoError(error, 'read', path);
  }
}

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a folder';
  if (stats.isFIFO()) return 'a pipe';
  return stats.isSocket() ? 'a socket' : 'a device';
}

/**
 * All bytes of a file of at most `maxBytes`. A larger file is refused before it is read. A file that grows while it is
 * read is refused as soon as it is too large. `hint` says what to do then.
 *
 * Throws 'bad-file' when it is larger, and what `withRegular` throws.
 *
 * @example const bytes = await readBounded('model/tokenizer.model', 256 << 20);
 */
export async function readBounded(
  path: string,
  maxBytes: number,
  hint = 'Check that the path is right.',
): Promise<Buffer> {
  return withRegular(path, async (file, size) => {
    if (size > maxBytes) throw tooLarge(path, size, maxBytes, hint);
    // One byte more than there should be: it is read where the file has grown, or did not tell its size.
    const bytes = await readUpTo(file, 0, size + 1);
    if (bytes.length <= size) return bytes;
    const more = await readUpTo(file, bytes.length, maxBytes + 1 - bytes.length);
    if (bytes.length + more.length > maxBytes) throw tooLarge(path, `more than ${maxBytes}`, maxBytes, hint);
    return Buffer.concat([bytes, more]);
  });
}

/** The bytes of a file from `start` on: `most` of them, or all that are left. */
async function readUpTo(file: FileHandle, start: number, most: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(most);
  let done = 0;
  while (done < most) {
    const { bytesRead } = await file.read(bytes, done, Math.min(most - done, MOST_AT_ONCE), start + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}

/** The `length` bytes from `start` on. If the file has become shorter, throws what `refuse` makes of it. */
export async function readHeaderBytes(
  file: FileHandle,
  start: number,
  length: number,
  refuse: (what: string) => LacunaError,
): Promise<Buffer> {
  const bytes = await readUpTo(file, start, length);
  if (bytes.length === length) return bytes;
  throw refuse(`it ended at byte ${start + bytes.length} while its header was read`);
}

function tooLarge(path: string, found: number | string, maxBytes: number, hint: string): LacunaError {
  return new LacunaError('bad-file', `${path} has ${found} bytes; the limit is ${maxBytes}, far above any real one`, {
    hint,
  });
}

export function lfsPointerError(path: string): LacunaError {
  return new LacunaError('bad-file', `${path} is a Git LFS pointer, not the file itself`, {
    hint: 'Run `git lfs pull` in its folder.',
  });
}
