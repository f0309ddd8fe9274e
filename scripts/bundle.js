// Bundles TypeScript for Node: for dist/, and for other code of this project that runs.
import { readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = dirname(import.meta.dirname);
const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const BUNDLED = ['commander', 'zod'];

/**
 * Writes `entryPoints`, relative to the repository, into `outdir`. Returns the names of all files that went into it.
 */
export async function bundle(entryPoints, outdir) {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints,
    outbase: '.',
    outdir,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: Object.keys(dependencies).filter((name) => !BUNDLED.includes(name)),
    metafile: true,
    chunkNames: 'chunks/[name]-[hash]',
    legalComments: 'inline',
    logLevel: 'warning',
    // protobufjs loads optional CommonJS modules through require, which an ES module lacks.
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module';\nconst require = __createRequire(import.meta.url);",
    },
  });
  return Object.keys(metafile.inputs);
}

/** Imports TypeScript, which Node 20 cannot. `source` is relative to the repository. */
export async function importTypeScript(source) {
  const outfile = join(root, `node_modules/.typescript/${basename(source, '.ts')}.mjs`);
  await build({
    entryPoints: [join(root, source)],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    packages: 'external',
    logLevel: 'warning',
  });
  return import(pathToFileURL(outfile).href);
}
