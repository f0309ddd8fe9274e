// The first steps of scripts, so that a fresh clone needs no separate install.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const root = dirname(import.meta.dirname);

/** Runs a command in the repository. If it fails, this process ends in the same way. */
export function step(command, args) {
  const { status } = spawnSync(command, args, { stdio: 'inherit', cwd: root, shell: process.platform === 'win32' });
  if (status !== 0) process.exit(status ?? 1);
}

/** Whether node_modules matches package-lock.json. */
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
