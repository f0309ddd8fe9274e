// Says whether node_modules matches package-lock.json, so that a fresh clone needs no separate install.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

export function installed() {
  const wanted = join(root, 'package-lock.json');
  const had = join(root, 'node_modules/.package-lock.json');
  if (!existsSync(had)) return false;
  const { packages } = JSON.parse(readFileSync(wanted, 'utf8'));
  const present = JSON.parse(readFileSync(had, 'utf8')).packages;
  return Object.entries(packages).every(
    ([path, { version, optional }]) => path === '' || optional || present[path]?.version === version,
  );
}
