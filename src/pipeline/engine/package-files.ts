/** Files of this package. Bundled or not, this code lies somewhere below them. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { LacunaError } from '../../core/errors.ts';

/** The absolute path of a file of this package, given by its path in the package; undefined if it is missing. */
export function findPackageFile(name: string): string | undefined {
  for (let folder = import.meta.dirname; folder !== dirname(folder); folder = dirname(folder))
    if (existsSync(join(folder, name))) return join(folder, name);
  return undefined;
}

/** The same for a file that must exist. */
export function packageFile(name: string): string {
  const path = findPackageFile(name);
  if (path !== undefined) return path;
  throw new LacunaError('not-found', `The package is not whole: it lacks ${name}`, { hint: 'Install it again.' });
}
