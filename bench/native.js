// Times the native kernels against each other, and prints the first table of docs/native.md.
//
//     node bench/native.js [threads] [rounds] [shapes] [--built FOLDER]
//
// `shapes` is how many of the shapes, the smallest first. It builds what it runs, unless --built names the folder of a build that was made with --bench.
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

const root = dirname(import.meta.dirname);
const { values, positionals } = parseArgs({ allowPositionals: true, options: { built: { type: 'string' } } });
if (values.built === undefined)
  execFileSync(process.execPath, [join(root, 'scripts/build-native.js'), '--bench'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
execFileSync(join(values.built ?? join(root, 'native/build/release'), 'gated_ffn_bench'), positionals, {
  stdio: 'inherit',
});
