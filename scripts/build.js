// Makes dist/: declarations by tsc, code by esbuild, in a few files, which load faster than a hundred.
//
// What users install beside the package stays external. The protobuf codec of ONNX is bundled: onnx-proto asks for
// protobufjs 6 while this project runs it on protobufjs 8 (an npm "override"), and npm ignores a dependency's overrides.
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

rmSync(join(root, 'dist'), { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: ['src/index.ts', 'src/cli/index.ts', 'formats/onnx/write-worker.ts'],
  outbase: '.',
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  external: Object.keys(dependencies),
  chunkNames: 'chunks/[name]-[hash]',
  legalComments: 'inline',
  logLevel: 'warning',
  // protobufjs reaches for optional CommonJS modules through require, which an ES module lacks.
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module';\nconst require = __createRequire(import.meta.url);",
  },
});
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], {
  stdio: 'inherit',
  cwd: root,
});
