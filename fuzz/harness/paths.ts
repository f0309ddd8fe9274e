/** Where things are in the repository. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Bundled or not, this file is somewhere in the repository. */
export function repository(...names: readonly string[]): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return join(folder, ...names);
}

/** A script of `fuzz/` as scripts/fuzz.js builds it, for a process of its own. */
export function built(name: string): string {
  return repository('.fuzz/build/fuzz', name);
}
