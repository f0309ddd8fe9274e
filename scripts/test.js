// Runs all checks with one command, the fastest to fail first: install, build, types, lint, tests.
import { installed, step } from './install.js';

function check(label, command, args) {
  console.log(`\n== ${label}`);
  step(command, args);
}

if (installed()) check('build', 'node', ['scripts/build.js']);
else check('install and build', 'npm', ['ci']);
check('types', 'npx', ['tsc', '--noEmit']);
check('lint', 'npx', ['biome', 'ci', '.']);
check('tests', 'npx', ['vitest', 'run', ...process.argv.slice(2)]);
