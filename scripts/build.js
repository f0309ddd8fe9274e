// Compiles TypeScript into dist/ and folds the protobuf codec of ONNX into one file there.
//
// The codec is bundled because onnx-proto asks for protobufjs 6 while this project runs it on protobufjs 8 (an npm
// "override"), and npm ignores the overrides of a dependency: an installed package would get the old one.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const codec = join(root, 'dist/formats/onnx/proto.js');

rmSync(join(root, 'dist'), { recursive: true, force: true });
execFileSync(
  process.execPath,
  [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'tsconfig.build.json')],
  {
    stdio: 'inherit',
    cwd: root,
  },
);
await build({
  entryPoints: [codec],
  outfile: codec,
  allowOverwrite: true,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  legalComments: 'inline',
  logLevel: 'warning',
  // protobufjs reaches for optional CommonJS modules through require, which an ES module lacks.
  banner: {
    js: "import { createRequire as lacunaCreateRequire } from 'node:module'; const require = lacunaCreateRequire(import.meta.url);",
  },
});
