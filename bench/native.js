// Times the native kernels against each other, and prints the first table of docs/native.md.
//
//     node bench/native.js [threads] [rounds]
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
execFileSync(process.execPath, [join(root, 'scripts/build-native.js'), '--bench'], {
  stdio: ['ignore', 'ignore', 'inherit'],
});
execFileSync(join(root, 'native/build/release/gated_ffn_bench'), process.argv.slice(2), { stdio: 'inherit' });
