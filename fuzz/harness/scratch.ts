/** Where campaigns work: in memory if the system has such a folder. */
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A new folder for `use`, removed afterwards. */
export async function withScratch<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(memoryFolder() ?? tmpdir(), 'lacuna-fuzz-'));
  return use(folder).finally(() => rmSync(folder, { recursive: true, force: true }));
}

/** The same with a given folder. What a killed process left there is removed first. */
export async function withFolder<T>(folder: string, use: () => Promise<T>): Promise<T> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  return use().finally(() => rmSync(folder, { recursive: true, force: true }));
}

function memoryFolder(): string | undefined {
  try {
    accessSync('/dev/shm', constants.W_OK);
    return '/dev/shm';
  } catch {
    return undefined;
  }
}
