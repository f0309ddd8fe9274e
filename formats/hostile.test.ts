/** Every hostile file gives the error that fixtures/hostile/hostile.json states for it. */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openModel } from '../converters/index.ts';
import { makeHostile } from '../fixtures/hostile/make.js';
import { LacunaError } from '../src/core/errors.ts';
import { readTensorBytes } from '../src/tensors/index.ts';
import { openCheckpoint } from './checkpoint.ts';
import { readSafetensors } from './safetensors/read.ts';

interface Expected {
  readonly path: string;
  /** When it occurs: when opening, when the tensors are read, or when they are used as a model's. */
  readonly stage: 'open' | 'read' | 'model';
  readonly code: string;
  /** A regular expression. */
  readonly message: string;
}

const ROOT = join(import.meta.dirname, '../fixtures/hostile');
const LIST = JSON.parse(readFileSync(join(ROOT, 'hostile.json'), 'utf8')) as readonly Expected[];

const scratch = await mkdtemp(join(tmpdir(), 'lacuna-hostile-'));
afterAll(() => rm(scratch, { recursive: true }));

test.each(LIST)('$path: $code when $stage', async ({ path, stage, code, message }) => {
  const met = await firstError(join(ROOT, path));
  expect(met?.error).toBeInstanceOf(LacunaError);
  expect({ stage: met?.stage, code: met?.error.code }).toEqual({ stage, code });
  expect(met?.error.message).toMatch(new RegExp(message));
  expect(met?.error.hint).toBeTruthy();
});

async function firstError(path: string): Promise<{ stage: string; error: LacunaError } | undefined> {
  let stage = 'open';
  try {
    const opened = path.endsWith('.safetensors')
      ? await readSafetensors(path, { mustBeFinite: true })
      : await openCheckpoint(path);
    stage = 'read';
    for (const tensor of opened.tensors.values()) await readTensorBytes(tensor);
    stage = 'model';
    if ('config' in opened) openModel(opened, { precision: 'fp32' });
    return undefined;
  } catch (error) {
    return { stage, error: error as LacunaError };
  }
}

test('the list and the folder name the same files', () => {
  const present = ['files', 'checkpoints'].flatMap((kind) =>
    readdirSync(join(ROOT, kind)).map((name) => `${kind}/${name}`),
  );
  expect(present.length).toBeGreaterThan(50);
  expect(LIST.map(({ path }) => path).sort()).toEqual(present.sort());
});

test('the files are those that make.js makes', () => {
  makeHostile(scratch);
  for (const kind of ['files', 'checkpoints'])
    expect(contents(join(ROOT, kind))).toEqual(contents(join(scratch, kind)));
});

function contents(folder: string): Record<string, string> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = entries.map((entry) => join(entry.parentPath, entry.name));
  return Object.fromEntries(paths.map((path) => [relative(folder, path), readFileSync(path, 'hex')]));
}
