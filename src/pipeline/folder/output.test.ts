import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { THIS_PROCESS } from '../../../formats/process.ts';
import { temporaryFolder } from '../../../test/temporary.ts';
import { checkJsonOutput, writeJsonOutput } from './output.ts';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);

beforeAll(() => {
  writeFileSync(at('old.json'), '{}');
  // As in a checkpoint: we may overwrite nothing here.
  writeFileSync(at('model.safetensors'), '');
  mkdirSync(at('folder'));
});

describe('an output of JSON and tensors', () => {
  it('may be new, in folders that are still to be made', async () => {
    await checkJsonOutput({ output: at('new.json') });
    await checkJsonOutput({ output: at('deep/er/new.json') });
    await checkJsonOutput({ output: at('old.json'), force: true });
  });

  it('may stand where a run was killed between its two files', async () => {
    const lock = (pid: number) =>
      writeFileSync(at('half.json.lock'), JSON.stringify({ ...THIS_PROCESS, pid, started: 0 }));
    writeFileSync(at('half.safetensors'), '');
    await expect(checkJsonOutput({ output: at('half.json') })).rejects.toThrow('half.safetensors already exists');
    lock(process.ppid);
    await expect(checkJsonOutput({ output: at('half.json') })).rejects.toThrow('half.safetensors already exists');
    lock(2 ** 30);
    await checkJsonOutput({ output: at('half.json') });
    await writeJsonOutput({ output: at('half.json') }, async () => writeFileSync(at('half.json'), '{}'));
    expect(existsSync(at('half.json.lock'))).toBe(false);
    lock(2 ** 30);
    await expect(checkJsonOutput({ output: at('half.json') })).rejects.toThrow('half.json already exists');
    expect(existsSync(at('half.json.lock'))).toBe(false);
  });

  it('is written by one process at a time', async () => {
    await writeJsonOutput({ output: at('deep/one.json') }, async () => {
      const second = writeJsonOutput({ output: at('deep/one.json') }, async () => {});
      await expect(second).rejects.toMatchObject({ code: 'exists', message: expect.stringMatching(/is at work in/) });
    });
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
