// Packs what users install, with the native core of every target inside: node scripts/pack.js DIR [--built]
//
// Builds first, unless --built says that native/build and dist are up to date. One file is the result, and nothing else
// is needed or fetched (ARCHITECTURE.md, "One package").
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { problemsOf } from './native-problems.js';
import { TARGETS } from './native-targets.js';

const root = dirname(import.meta.dirname);
const { values, positionals } = parseArgs({ allowPositionals: true, options: { built: { type: 'boolean' } } });
const [folder] = positionals;
if (folder === undefined) fail('Say where to: npm run pack:all -- DIR');

function fail(message) {
  console.error(message);
  process.exit(1);
}

function build(script, ...args) {
  execFileSync(process.execPath, [join(root, 'scripts', script), ...args], { stdio: ['ignore', 2, 2] });
}

if (!values.built) {
  for (const { name } of TARGETS) build('build-native.js', '--target', name);
  build('build.js');
}
const problems = TARGETS.flatMap((target) => problemsOf(target, join(root, 'native/build', target.name, 'lib')));
if (problems.length > 0)
  fail(
    [
      'Cannot pack the native core:',
      ...problems.map((problem) => `  ${problem}`),
      'Build it again: node scripts/build-native.js --target NAME',
    ].join('\n'),
  );
mkdirSync(folder, { recursive: true });
// Everything is built: the script `prepare` would build dist again.
const args = ['pack', '--ignore-scripts', '--json', '--pack-destination', resolve(folder)];
const [{ filename, size }] = JSON.parse(execFileSync('npm', args, { cwd: root, encoding: 'utf8' }));
console.error(`${filename}: ${(size / 1e6).toFixed(1)} MB`);
console.log(join(folder, filename));
