// Writes the C++ side of the operators' vocabulary: npm run vocabulary.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const outfile = join(root, 'node_modules/.vocabulary/vocabulary.mjs');
mkdirSync(dirname(outfile), { recursive: true });
await build({
  entryPoints: [join(root, 'scripts/vocabulary.ts')],
  outfile,
  bundle: true,
  format: 'esm',
  platform: 'node',
});
const { headers } = await import(pathToFileURL(outfile).href);
for (const { path, text } of headers()) writeFileSync(join(root, path), text);
