/**
 * A file that one process at a time holds. A new process takes it over from a dead one.
 *
 * A lock appears whole: its text is written under another name, then linked to the lock's name, which only one process
 * can do. To take over a stale lock, a process removes it and tries again. A second lock, the guard, makes that safe.
 * Its name follows from the stale lock's text. The holder of the guard checks that this text is still there before it
 * removes the lock. Without the guard, a process that read the stale lock could remove the new lock of a faster
 * process. No two locks have the same text, so a guard that is taken late finds another text and removes nothing. A
 * dead process may leave a guard too; it is taken over in the same way.
 */
import { createHash, randomUUID } from 'node:crypto';
import { link, lstat, open, readdir, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { LacunaError } from '../src/core/errors.ts';
import { asIoError, systemCode } from '../src/core/io-error.ts';
import { createBeside, parseNeighbour } from './beside.ts';
import { isProcessId, isRunning, type ProcessName, THIS_PROCESS } from './process.ts';

/** A lock of ours has some hundred bytes. Anything longer is not read to its end. */
const MAX_LOCK_BYTES = 1024;

/** Texts of locks that this process holds: an earlier process may have had its id. */
const held = new Set<string>();

/**
 * Runs `use` while this process holds the lock file `path`. Its folder must exist. Errors call what is locked `place`.
 *
 * @throws LacunaError `exists` while another process holds it (it does not wait), `io` when it cannot be written.
 * @example await withLock('out.lock', 'out', () => fill('out'));
 */
export async function withLock<T>(path: string, place: string, use: () => Promise<T>): Promise<T> {
  const text = await take(path, place).catch((error) => {
    throw asIoError(error, 'write', path);
  });
  try {
    await removeLeftovers(path);
    return await use();
  } finally {
    await release(path, text);
  }
}

/** Whether a dead process left the lock `path`. */
export async function isStaleLock(path: string): Promise<boolean> {
  const found = await readLock(path).catch(() => undefined);
  return found !== undefined && holderOf(found) === undefined;
}

/** Runs `use` under a lock that a dead process left, and removes it. A lock that is held or cannot be removed stays. */
export async function removeStaleLock(path: string, use: () => Promise<void> = async () => {}): Promise<void> {
  if (await isStaleLock(path)) await withLock(path, path, use).catch(() => {});
}

async function take(path: string, place: string): Promise<string> {
  const text = JSON.stringify({ ...THIS_PROCESS, nonce: randomUUID() });
  for (;;) {
    held.add(text);
    if (await appears(path, text)) return text;
    held.delete(text);
    const found = await readLock(path);
    // Released in the meantime.
    if (found === undefined) continue;
    const holder = holderOf(found);
    if (holder !== undefined) throw atWork(holder, path, place);
    await removeStale(path, found, place);
  }
}

/** Makes the file with its text, unless it exists. */
async function appears(path: string, text: string): Promise<boolean> {
  const [whole] = await createBeside(path, 'partial', (name) => writeFile(name, text, { flag: 'wx' }));
  try {
    await link(whole, path).catch((error) => {
      if (!NO_LINKS.includes(systemCode(error) ?? '')) throw error;
      return writeFile(path, text, { flag: 'wx' });
    });
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(whole, { force: true });
  }
}

/** Errors of file systems without links, for example on a USB stick. */
const NO_LINKS = ['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK'];

async function readLock(path: string): Promise<string | undefined> {
  try {
    if (!(await lstat(path)).isFile()) throw notOurs(path);
    const handle = await open(path);
    const reading = handle.read(Buffer.alloc(MAX_LOCK_BYTES + 1), 0, MAX_LOCK_BYTES + 1, 0);
    const { buffer, bytesRead } = await reading.finally(() => handle.close());
    // A lock of ours is shorter. A disk may leave zeros of it when the power goes.
    if (bytesRead > MAX_LOCK_BYTES && buffer.some((byte) => byte !== 0)) throw notOurs(path);
    return buffer.toString('utf8', 0, bytesRead);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** As poetry.lock beside an output called poetry. */
function notOurs(path: string): LacunaError {
  return new LacunaError('exists', `${path} is no lock of ours`, {
    hint: 'Give another output, or remove it yourself.',
  });
}

/** The process that holds a lock with this text; undefined when it is dead, or the text is not a lock's. */
function holderOf(text: string): ProcessName | undefined {
  const named = parse(text);
  if (named === undefined) return undefined;
  const { host, pid } = named;
  if (host === THIS_PROCESS.host && pid === THIS_PROCESS.pid) return held.has(text) ? named : undefined;
  // Processes of another host are unknown and count as dead, because a restarted job may run on another host.
  return isRunning(named) === true ? named : undefined;
}

function parse(text: string): ProcessName | undefined {
  try {
    const { host, pid, started } = JSON.parse(text) ?? {};
    return typeof host === 'string' && isProcessId(pid) && Number.isSafeInteger(started)
      ? { host, pid, started }
      : undefined;
  } catch {
    return undefined;
  }
}

function atWork({ pid }: ProcessName, path: string, place: string): LacunaError {
  return new LacunaError('exists', `Another run (process ${pid}) is at work in ${place}`, {
    hint: `Wait for it, or give another folder. If that process is not Lacuna, remove ${path}`,
  });
}

/** The faster process takes the lock over. The other one gets an error. */
async function removeStale(path: string, text: string, place: string): Promise<void> {
  const guard = `${path}.${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
  const guarding = await take(guard, place);
  try {
    if ((await readLock(path)) === text) await rm(path, { force: true });
  } finally {
    await release(guard, guarding);
  }
}

async function release(path: string, text: string): Promise<void> {
  held.delete(text);
  if ((await readLock(path)) === text) await rm(path, { force: true });
}

/** Removes what processes left that died taking the lock. No guard is needed any more: its text is gone. */
async function removeLeftovers(path: string): Promise<void> {
  const [folder, base] = [dirname(path), basename(path)];
  for (const name of await readdir(folder)) {
    if (!name.startsWith(`${base}.`)) continue;
    const { of, maker } = parseNeighbour(name) ?? { of: name };
    const isGuard = /^(\.[0-9a-f]{16})+$/.test(of.slice(base.length));
    const isAbandoned = maker === undefined ? isGuard : (isGuard || of === base) && isRunning(maker) !== true;
    if (isAbandoned) await rm(join(folder, name), { force: true });
  }
}
