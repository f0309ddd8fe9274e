// Makes dist/: declarations by tsc, code by esbuild in a few files, which load faster than a hundred.
//
// Dependencies stay external, with three exceptions. The first is the protobuf codec of ONNX: onnx-proto asks for
// protobufjs 6, but this project runs it on protobufjs 8 (an npm "override"), and npm ignores a dependency's overrides.
// The second is code that every command loads, because finding many files takes longer than running them. zod alone
// took 40 ms. (It is a dependency all the same, for the declarations.) The third is what draws charts: the parts that
// pages use of ECharts are a small part of its 65 MB. They are a file of their own, which only `report` and `build` load.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bundle } from './bundle.js';

const root = dirname(import.meta.dirname);
rmSync(join(root, 'dist'), { recursive: true, force: true });
const files = await bundle(
  ['src/index.ts', 'src/backend.ts', 'src/cli/index.ts', 'formats/onnx/write-worker.ts', 'calibrate/add-worker.ts'],
  'dist',
);
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], {
  stdio: 'inherit',
  cwd: root,
});
writeFileSync(join(root, 'dist/LICENCES.txt'), licences(files));

/** The licences and notices of all packages that contributed to `files`, each with its name and version. */
function licences(files) {
  const folders = new Set(files.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []));
  const texts = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
    const entries = readdirSync(join(root, folder));
    // Apache's licence asks for the notice, too.
    const found = [/^licen[cs]e(\.|$)/i, /^notice(\.|$)/i].flatMap(
      (kind) => entries.find((entry) => kind.test(entry)) ?? [],
    );
    const parts = found.map((file) => `\n\n${readFileSync(join(root, folder, file), 'utf8').trim()}`);
    return `${name} ${version} (${license})${parts.join('')}`;
  });
  return `Code of these packages is inside Lacuna's own.\n\n${texts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`;
}
