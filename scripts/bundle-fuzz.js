// Builds fuzz/ into .fuzz/build. Its processes are started from files, and Node 20 cannot start one from TypeScript.
import { rmSync } from 'node:fs';
import { bundle } from './bundle.js';

const BUILD = '.fuzz/build';

/** `build` is the output, relative to the repository. */
export async function bundleFuzz(build = BUILD) {
  rmSync(build, { recursive: true, force: true });
  // Threads that write weights are also started from a file (see formats/onnx/write-thread.ts).
  const children = ['inputs', 'hub', 'locks', 'operators'].map((name) => `fuzz/${name}/child.ts`);
  await bundle(['fuzz/main.ts', ...children, 'formats/onnx/write-worker.ts'], build);
}
