// Times the native kernels against each other, and prints the first table of docs/native.md.
//
//     node bench/native.js [threads] [rounds] [--built]
//
// It builds what it runs, unless --built says that it exists.
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

const root = dirname(import.meta.dirname);
const { values, positionals } = parseArgs({ allowPositionals: true, options: { built: { type: 'boolean' } } });
if (!values.built)
  execFileSync(process.execPath, [join(root, 'scripts/build-native.js'), '--bench'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
execFileSync(join(root, 'native/build/release/gated_ffn_bench'), positionals, { stdio: 'inherit' });
