/** Names beside a file or folder: of new things until they are complete. They are removed when their maker died. */
import { readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { systemCode } from '../src/core/io-error.ts';
import { isProcessId, isRunning, type ProcessName, THIS_PROCESS } from './process.ts';

/** `partial` is being made or removed. `replaced` is a whole folder, while a new one takes its place. */
export type Mark = 'partial' | 'replaced';

let count = 0;

/**
 * Makes something new under a free name beside `path`, so that renaming never crosses file systems. `out` becomes
 * `out.partial-9f86d081-4711-853211-1`: host, process, start of the process, and a number.
 */
export async function createBeside<T>(
  path: string,
  mark: Mark,
  create: (name: string) => Promise<T>,
): Promise<[string, T]> {
  const { host, pid, started } = THIS_PROCESS;
  for (;;) {
    count += 1;
    const name = `${path}.${mark}-${host}-${pid}-${started}-${count}`;
    try {
      return [name, await create(name)];
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
    }
  }
}

interface Neighbour {
  /** Name of the thing beside it. */
  readonly of: string;
  readonly mark: Mark;
  readonly maker: ProcessName;
}

const NAME = /^(.+)\.(partial|replaced)-([0-9a-f]{8})-(\d{1,10})-(\d{1,15})-\d+$/;

/** Reads a name of `createBeside`; undefined for all others. */
export function parseNeighbour(name: string): Neighbour | undefined {
  const [, of, mark, host, pid, started] = NAME.exec(name) ?? [];
  if (of === undefined || !isProcessId(Number(pid))) return undefined;
  return { of, mark: mark as Mark, maker: { host, pid: Number(pid), started: Number(started) } };
}

/** What lies beside `path` under names of `createBeside`. */
export async function neighboursOf(path: string): Promise<(Neighbour & { readonly path: string })[]> {
  const folder = dirname(path);
  const names = await readdir(folder).catch((error) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  return names.flatMap((name) => {
    const neighbour = parseNeighbour(name);
    return neighbour?.of === basename(path) ? [{ ...neighbour, path: join(folder, name) }] : [];
  });
}

/** Removes files that dead processes of this host were writing in place of `path`. */
export async function removeAbandoned(path: string): Promise<void> {
  for (const { path: name, mark, maker } of await neighboursOf(path))
    if (mark === 'partial' && isRunning(maker) === false) await rm(name, { recursive: true, force: true });
}
