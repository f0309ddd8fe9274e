/** Files of this package: bundled or not, this code lies somewhere below them. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { LacunaError } from '../../core/errors.ts';

/** The absolute path of a file of this package, which is named as it lies there; undefined where it is missing. */
export function findPackageFile(name: string): string | undefined {
  for (let folder = import.meta.dirname; folder !== dirname(folder); folder = dirname(folder))
    if (existsSync(join(folder, name))) return join(folder, name);
  return undefined;
}

/** The same of a file that has to be there. */
export function packageFile(name: string): string {
  const path = findPackageFile(name);
  if (path !== undefined) return path;
  throw new LacunaError('not-found', `The package is not whole: it lacks ${name}`, { hint: 'Install it again.' });
}
