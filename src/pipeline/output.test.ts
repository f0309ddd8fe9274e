import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../test/temporary.ts';
import { checkJsonOutput } from './output.ts';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);

beforeAll(() => {
  writeFileSync(at('old.json'), '{}');
  // As a checkpoint has it: nothing here is ours to write over.
  writeFileSync(at('model.safetensors'), '');
  mkdirSync(at('folder'));
});

describe('an output of JSON and tensors', () => {
  it('may be new, in folders that are still to be made', async () => {
    await checkJsonOutput({ output: at('new.json') });
    await checkJsonOutput({ output: at('deep/er/new.json') });
    await checkJsonOutput({ output: at('old.json'), force: true });
  });

  it.each([
    ['old.json', false, /old\.json already exists/],
    ['model.json', false, /model\.safetensors already exists/],
    ['folder', true, /folder is a folder/],
    ['new.safetensors', false, /names the tensors/],
    ['old.json/new.json', false, /it is a file, not a folder/],
  ])('is refused as %s (force: %s)', async (name, force, message) => {
    await expect(checkJsonOutput({ output: at(name), force })).rejects.toThrow(message);
  });
});
