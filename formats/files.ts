/** Files and folders that appear complete or not at all: temporary name, fsync, rename. Hashes of files. */
import { createHash } from 'node:crypto';
import { type FileHandle, lstat, mkdir, open, readdir, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { LacunaError } from '../src/core/errors.ts';
import { asIoError, failedPath, systemCode } from '../src/core/io-error.ts';
import { createBeside, type Mark, neighboursOf, removeAbandoned } from './beside.ts';
import { removeStaleLock, withLock } from './lock.ts';
import { withRegular } from './regular-file.ts';

/** The file that marks a folder as ours. Only such a folder, or an empty one, is ever replaced. */
const OUTPUT_MARK = 'lacuna.json';

/** Suffixes of folders beside an output in which a command works until the output is complete. */
const WORKSPACE_SUFFIXES = ['.build', '.rounding'] as const;

/** Bytes that hashing reads at a time: enough for full disk speed, and small beside everything else. */
const HASH_BLOCK_BYTES = 1 << 20;

/**
 * Writes a whole file. Readers of `path` see the old content or the new, never a part. Its folder must exist. After an
 * error nothing is left behind. The error is 'io' (or 'not-found') when the system refused. What a killed process left
 * is removed by the next one that writes the same file.
 *
 * @example await writeFileAtomically('plan.json', JSON.stringify(plan));
 */
export async function writeFileAtomically(
  path: string,
  data: Uint8Array | string | AsyncIterable<Uint8Array>,
): Promise<void> {
  await fillFileAtomically(path, ({ handle, written }) =>
    writeFile(handle, typeof data === 'string' || data instanceof Uint8Array ? data : counted(data, written)),
  );
}

async function* counted(
  blocks: AsyncIterable<Uint8Array>,
  written: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const block of blocks) {
    yield block;
    written(block.length);
  }
}

/** A file under its temporary name. */
export interface PartialFile {
  readonly path: string;
  readonly handle: FileHandle;
  /** Call it with the number of bytes that are in the file: the disk writes them while others are being made. */
  readonly written: (bytes: number) => void;
}

/**
 * A whole file from what `fill` writes, in any order, into an empty one. Returns what `fill` returns. Otherwise as
 * `writeFileAtomically`. Code that opened the file by its temporary path must close it before `fill` ends.
 */
export async function fillFileAtomically<T>(path: string, fill: (file: PartialFile) => Promise<T>): Promise<T> {
  const target = resolve(path);
  try {
    await removeAbandoned(target);
    const [temporary, handle] = await createBeside(target, 'partial', (name) => open(name, 'wx'));
    try {
      const result = await fillAndSync(temporary, handle, fill);
      await rename(temporary, target);
      await syncFolder(dirname(target));
      return result;
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  } catch (error) {
    throw asIoError(error, 'write', path);
  }
}

async function fillAndSync<T>(path: string, handle: FileHandle, fill: (file: PartialFile) => Promise<T>): Promise<T> {
  const { written, settled } = earlySync(handle);
  try {
    const result = await fill({ path, handle, written });
    await settled();
    await handle.sync();
    return result;
  } finally {
    // A running sync must end before its file is closed, and its failure must be reported.
    await settled().catch(() => {});
    await handle.close();
  }
}

/** The number of bytes after which the disk starts to write: enough for its full speed. */
const SYNC_BYTES = 32 << 20;

/**
 * Syncs a file while more is being made, one sync at a time, so that the last one has little left to do. `settled`
 * waits for a running sync. It throws what a sync threw, because the system reports that only once.
 */
function earlySync(handle: FileHandle) {
  let unsynced = 0;
  let isSyncing = false;
  let syncs: Promise<unknown> = Promise.resolve();
  const written = (bytes: number) => {
    unsynced += bytes;
    if (isSyncing || unsynced < SYNC_BYTES) return;
    unsynced = 0;
    isSyncing = true;
    const sync = handle.datasync().finally(() => {
      isSyncing = false;
    });
    syncs = Promise.all([syncs, sync]);
    // Reported by `settled`.
    syncs.catch(() => {});
  };
  return { written, settled: () => syncs.then(() => {}) };
}

/** Writes all of `data` from byte `position` on. One write may take only a part: 2 GiB at most, less on a full disk. */
export async function writeAll(handle: FileHandle, data: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < data.length; ) {
    const length = Math.min(data.length - done, 1 << 30);
    done += (await handle.write(data, done, length, position + done)).bytesWritten;
  }
}

interface NewFolderOptions {
  /** Replaces an output of an earlier run, once the new one is complete. */
  readonly force: boolean;
}

/**
 * Makes the folder `path` from what `fill` writes into a temporary one beside it. Returns what `fill` returns.
 *
 * - `path` exists and `force` is false, or another process is making it: refused with code 'exists' before `fill` is
 *   called.
 * - `force`: the old folder stays whole until the new one is complete and synced. Only a folder with `lacuna.json`, or
 *   an empty one, is replaced, so a mistyped path never destroys other files.
 * - `fill` throws (or was aborted): the temporary folder is removed and the old one is untouched.
 * - The process is killed: the next one that makes the folder removes what this one left, and restores the old folder
 *   if it had been moved aside.
 *
 * @example await withNewFolder('out', { force: false }, (temporary) => writeFileAtomically(join(temporary, 'a'), 'a'));
 */
export async function withNewFolder<T>(
  path: string,
  options: NewFolderOptions,
  fill: (temporary: string) => Promise<T>,
): Promise<T> {
  const target = resolve(path);
  return lockedFolder(path, options, async () => {
    const [temporary] = await createBeside(target, 'partial', (name) => mkdir(name));
    try {
      const result = await fill(temporary).catch((error) => {
        throw asIoError(error, 'use', failedPath(error) ?? path);
      });
      await syncTree(temporary);
      await refuseExistingFolder(path, options);
      await exchange(temporary, target);
      return result;
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      throw error;
    }
  });
}

/** Gives a complete folder the name `path`, with the same rules. Throws 'exists' or 'io', and leaves the folder. */
export async function putInPlace(complete: string, path: string, options: NewFolderOptions): Promise<void> {
  await lockedFolder(path, options, () => exchange(complete, resolve(path)));
}

/** Repairs what a killed process left of the folder `path`. Throws 'exists' while another process makes the folder. */
export async function recoverFolder(path: string): Promise<void> {
  await lockedFolder(path, { force: true }, async () => {});
}

/** Runs `use` while no other process makes the folder `path`, if nothing there would be lost. */
async function lockedFolder<T>(path: string, options: NewFolderOptions, use: () => Promise<T>): Promise<T> {
  const target = resolve(path);
  try {
    await refuseExistingFolder(path, options);
    await mkdir(dirname(target), { recursive: true });
    return await withLock(`${target}.lock`, path, async () => {
      await recover(target);
      // The restored folder counts too, and so does one that another process made before this one had the lock.
      await refuseExistingFolder(path, options);
      return await use();
    });
  } catch (error) {
    throw asIoError(error, 'write', path);
  }
}

/** Under the lock nobody else makes the folder, so a killed process left everything that lies beside it. */
async function recover(target: string): Promise<void> {
  for (const { path, mark } of await neighboursOf(target)) {
    // The old folder had been moved aside, and the new one did not exist yet.
    if (mark === 'replaced' && (await listIfFolder(target)) === 'absent') await rename(path, target);
    else await discard(path, target);
  }
}

/** Throws 'exists' unless `path` is free, or `force` is given and `path` is an empty folder or one of ours. */
export async function refuseExistingFolder(path: string, options: NewFolderOptions): Promise<void> {
  const refusal = await refusalOf(path, options);
  if (refusal === undefined) return;
  await tidyBeside(resolve(path));
  throw refusal;
}

/** Why no folder can be written there. Nothing is touched. */
export async function refusalOf(path: string, { force }: NewFolderOptions): Promise<LacunaError | undefined> {
  const entries = await listIfFolder(path);
  if (entries === 'absent') return undefined;
  if (entries === 'file')
    return new LacunaError('exists', `${path} is a file; a folder is to be written there`, {
      hint: 'Give another output folder.',
    });
  if (!force)
    return new LacunaError('exists', `${path} already exists`, {
      hint: 'Give another output folder, or replace this one with --force.',
    });
  if (entries.length === 0 || entries.includes(OUTPUT_MARK)) return undefined;
  return new LacunaError('exists', `${path} is not replaced: it holds no ${OUTPUT_MARK}, so it is no output of ours`, {
    hint: 'Give another output folder, or remove this one yourself.',
  });
}

/** A process killed just after finishing a folder leaves locks beside it, and no later run takes them over. */
async function tidyBeside(target: string): Promise<void> {
  await removeStaleLock(`${target}.lock`, () => recover(target));
  for (const suffix of WORKSPACE_SUFFIXES) await removeStaleLock(`${target}${suffix}.lock`);
}

async function listIfFolder(path: string): Promise<'absent' | 'file' | readonly string[]> {
  try {
    return (await lstat(path)).isDirectory() ? await readdir(path) : 'file';
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return 'absent';
    throw error;
  }
}

/** Puts a complete folder at `target`. No system renames onto a folder that is not empty: an old one is moved aside. */
async function exchange(complete: string, target: string): Promise<void> {
  const old = (await listIfFolder(target)) === 'absent' ? undefined : await moveBeside(target, target, 'replaced');
  try {
    await rename(complete, target);
  } catch (error) {
    if (old !== undefined) await rename(old, target);
    throw error;
  }
  await syncFolder(dirname(target));
  if (old !== undefined) await discard(old, target);
}

/** Gives a folder a new name beside `target`. Making a folder of that name shows that it is free. */
async function moveBeside(path: string, target: string, mark: Mark): Promise<string> {
  const [free] = await createBeside(target, mark, (name) => mkdir(name));
  await rmdir(free);
  await rename(path, free);
  return free;
}

/** Removes a folder beside `target`. Its mark goes first, because a half-removed folder must not be restored. */
async function discard(path: string, target: string): Promise<void> {
  await rm(await moveBeside(path, target, 'partial'), { recursive: true, force: true });
}

async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else if (entry.isFile()) await syncPath(path, 'r+');
  }
  await syncFolder(folder);
}

async function syncPath(path: string, flags: string): Promise<void> {
  const handle = await open(path, flags);
  await handle.sync().finally(() => handle.close());
}

/** Makes a rename permanent. Windows has no such call for folders and needs none. */
async function syncFolder(path: string): Promise<void> {
  try {
    await syncPath(path, 'r');
  } catch (error) {
    if (!['EISDIR', 'EPERM', 'EINVAL'].includes(systemCode(error) ?? '')) throw error;
  }
}

/** sha256 of bytes, as 64 hexadecimal digits. */
export function sha256Bytes(data: Uint8Array | string): string {
  return createHash('sha256').update(data).digest('hex');
}

export async function sha256File(path: string): Promise<string> {
  return withRegular(path, async (file) => {
    const hash = createHash('sha256');
    for await (const block of file.createReadStream({ highWaterMark: HASH_BLOCK_BYTES })) hash.update(block);
    return hash.digest('hex');
  });
}
