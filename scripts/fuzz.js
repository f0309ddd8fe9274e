// Looks for inputs, kills, full disks and servers that bring Lacuna down: docs/fuzzing.md.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { chdir } from 'node:process';
import { pathToFileURL } from 'node:url';
import { installed, root, step } from './install.js';

chdir(root);
if (installed()) step('node', ['scripts/build.js']);
else step('npm', ['ci']);
// Imported here because the packages have only now been installed.
const { bundle } = await import('./bundle.js');
// Processes of fuzz/ are started from files, and Node 20 cannot start one from TypeScript. So are threads that write
// weights (see formats/onnx/write-thread.ts).
const children = ['inputs', 'hub', 'locks', 'operators'].map((name) => `fuzz/${name}/child.ts`);
rmSync('.fuzz/build', { recursive: true, force: true });
await bundle(['fuzz/main.ts', ...children, 'formats/onnx/write-worker.ts'], '.fuzz/build');
await import(pathToFileURL(join(root, '.fuzz/build/fuzz/main.js')));
