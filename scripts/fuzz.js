// Looks for inputs, kills, full disks and servers that bring Lacuna down: docs/fuzzing.md.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { chdir } from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { installed } from './install.js';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
chdir(root);
const step = installed() ? ['node', ['scripts/build.js']] : ['npm', ['ci']];
const { status } = spawnSync(step[0], step[1], { stdio: 'inherit', shell: process.platform === 'win32' });
if (status !== 0) process.exit(status ?? 1);
// Imported here because the packages have only now been installed.
const { bundleFuzz } = await import('./bundle-fuzz.js');
await bundleFuzz();
await import(pathToFileURL(join(root, '.fuzz/build/fuzz/main.js')));
