/** Where `build` keeps finished stages until the whole is done: a folder that one process at a time works in. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { kill, pid } from 'node:process';
import { writeFileAtomically } from '../../formats/files.ts';
import { asIoError, systemCode } from '../../formats/io-error.ts';
import { LacunaError } from '../core/errors.ts';
import { LACUNA_VERSION } from '../core/manifest.ts';
import { checkWritable, exists } from './output.ts';

/** A finished stage: where it is, and what it gave. */
export interface Stage<T> {
  readonly path: string;
  readonly result: T;
}

/** Names a stage by all that went into it, this version of Lacuna included. */
export function keyOf(...inputs: readonly unknown[]): string {
  return createHash('sha256')
    .update(JSON.stringify([LACUNA_VERSION, ...inputs]))
    .digest('hex')
    .slice(0, 16);
}

const LOCK_FILE = 'lock';

/** Locks that this process holds: its own id in a lock file does not tell whether it took it or a namesake did, killed in a container of before. */
const held = new Set<string>();

/**
 * Runs `use` in the folder `path`, made when it is not there. What a killed run had half written is removed first; what
 * it had finished stays, and so does all when `use` throws.
 *
 * @throws LacunaError `exists` while another build works in it.
 */
export async function withWorkspace<T>(path: string, use: () => Promise<T>): Promise<T> {
  const lock = join(path, LOCK_FILE);
  try {
    await checkWritable(dirname(path));
    await mkdir(path, { recursive: true });
    await takeLock(lock);
  } catch (error) {
    throw asIoError(error, 'write', path);
  }
  try {
    await removeUnfinished(path);
    return await use();
  } finally {
    held.delete(lock);
    await rm(lock, { force: true });
    // Without a finished stage there is nothing to keep.
    await rmdir(path).catch(() => {});
  }
}

async function takeLock(lock: string): Promise<void> {
  for (;;) {
    try {
      await writeFile(lock, JSON.stringify({ host: hostname(), pid }), { flag: 'wx' });
      held.add(lock);
      return;
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
    }
    const owner = await readOwner(lock);
    if (owner !== undefined && isAtWork(owner, lock))
      throw new LacunaError('exists', `Another run (process ${owner.pid}) is at work in ${dirname(lock)}`, {
        hint: `Wait for it, or give another output. If it is none of Lacuna, remove ${lock}`,
      });
    // Left by a run that was killed.
    await rm(lock, { force: true });
  }
}

interface Owner {
  readonly host: string;
  readonly pid: number;
}

async function readOwner(lock: string): Promise<Owner | undefined> {
  try {
    return JSON.parse(await readFile(lock, 'utf8')) as Owner;
  } catch {
    return undefined;
  }
}

/** Of another host one cannot know: it is taken for gone, as a restarted job lands on another one. */
function isAtWork(owner: Owner, lock: string): boolean {
  if (owner.host !== hostname()) return false;
  if (owner.pid === pid) return held.has(lock);
  try {
    // Signal 0 only asks whether the process is there.
    return kill(owner.pid, 0);
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}

async function removeUnfinished(path: string): Promise<void> {
  for (const name of await readdir(path, { recursive: true })) {
    if (name.includes('.partial-')) await rm(join(path, name), { recursive: true, force: true });
  }
}

/** Runs `make` unless its output is there: outputs appear whole or not at all. */
export async function stage<T>(path: string, make: () => Promise<unknown>, read: () => Promise<T>): Promise<Stage<T>> {
  if (!(await exists(path))) {
    await mkdir(dirname(path), { recursive: true });
    await make();
  }
  return { path, result: await read() };
}

/** A stage whose output is a JSON file of what it gives. */
export async function jsonStage<T>(path: string, make: () => Promise<T>): Promise<Stage<T>> {
  const write = async () => writeFileAtomically(path, `${JSON.stringify(await make(), null, 2)}\n`);
  return stage(path, write, () => readResult<T>(path));
}

/** What a JSON stage wrote. */
export async function readResult<T>(path: string): Promise<T> {
  return JSON.parse(await readFile(path, 'utf8')) as T;
}
