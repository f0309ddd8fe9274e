/** The import rule: stages know the shapes in core and nothing of each other; only the pipeline joins them. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = dirname(import.meta.dirname);

/** Folder (longest prefix wins) -> folders it may import from, besides itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'src/core': [],
  'src/ops': ['src/core'],
  'src/rewrite': ['src/core', 'src/ops'],
  'src/plan': ['src/core'],
  'src/runtime': ['src/core'],
  'src/eval': ['src/core'],
  'src/report': ['src/core'],
  'src/quantize': ['src/core'],
  'src/tensors': ['src/core', 'src/quantize'],
  'src/hub': ['src/core', 'formats'],
  formats: ['src/core', 'src/tensors', 'src/quantize'],
  converters: ['src/core'],
  calibrate: ['src/core'],
  'src/pipeline': ['src', 'formats', 'converters', 'calibrate'],
  'src/cli': ['src/index.ts', 'src/core', 'src/wizard'],
  'src/wizard': ['src/index.ts', 'src/core'],
  src: ['src/pipeline', 'src/core'],
  // Runs commands and readers from outside; nothing imports it.
  fuzz: ['src', 'formats'],
};

const sources = ['src', 'formats', 'converters', 'calibrate', 'fuzz']
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file)),
  )
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
  .sort();

function ownerOf(file: string): string {
  const owners = Object.keys(MAY_IMPORT).filter((folder) => file === folder || file.startsWith(`${folder}/`));
  return owners.sort((a, b) => b.length - a.length)[0];
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(([, path]) =>
    relative(root, join(root, dirname(file), path)),
  );
}

describe('the import rule', () => {
  it('sees the sources', () => {
    expect(sources.length).toBeGreaterThan(40);
    expect(new Set(sources.map(ownerOf))).toEqual(
      new Set(Object.keys(MAY_IMPORT).filter((owner) => sources.some((file) => file.startsWith(owner)))),
    );
  });

  it.each(sources)('%s imports only what its stage may know', (file) => {
    const owner = ownerOf(file);
    const allowed = [owner, ...MAY_IMPORT[owner]];
    const strangers = importsOf(file).filter(
      (target) => !allowed.some((folder) => target === folder || target.startsWith(`${folder}/`)),
    );
    expect(strangers).toEqual([]);
  });

  // ONNX Runtime asks for its telemetry by a variable of the environment, in programs that import the library too.
  const mayKnowProcess = (file: string) => file.startsWith('fuzz/') || file === 'src/runtime/onnxruntime.ts';

  it.each(sources.filter((file) => !mayKnowProcess(file)))('%s leaves process to bin', (file) => {
    expect(readFileSync(join(root, file), 'utf8')).not.toMatch(
      /\bprocess\.(argv|env|exit|exitCode|stdout|stderr|stdin|cwd|on)\b/,
    );
  });
});
