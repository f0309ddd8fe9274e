/** Sources as a program that a process of its own can run: Node 20 runs no TypeScript. */
import { basename, join } from 'node:path';
import { build } from 'esbuild';
import { root } from './temporary.ts';

/** Bundles `source`, a path in this repository, into `folder`; returns the program's path. */
export async function bundle(source: string, folder: string): Promise<string> {
  const program = join(folder, `${basename(source, '.ts')}.mjs`);
  await build({
    entryPoints: [join(root, source)],
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['onnxruntime-node'],
    outfile: program,
    logLevel: 'silent',
  });
  return program;
}
