// Runs all checks with one command, the fastest to fail first: install, build, types, lint, tests.
import { spawnSync } from 'node:child_process';
import { installed } from './install.js';

function step(label, command, args) {
  console.log(`\n== ${label}`);
  const { status } = spawnSync(command, args, { stdio: 'inherit', shell: process.platform === 'win32' });
  if (status !== 0) process.exit(status ?? 1);
}

if (installed()) step('build', 'node', ['scripts/build.js']);
else step('install and build', 'npm', ['ci']);
step('types', 'npx', ['tsc', '--noEmit']);
step('lint', 'npx', ['biome', 'ci', '.']);
step('tests', 'npx', ['vitest', 'run', ...process.argv.slice(2)]);
