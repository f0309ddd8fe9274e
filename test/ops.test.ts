/** `lacuna ops`: the library's path, and a sparse folder that brings it along. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { genai, hasPython } from './consumers/consumers.ts';
import { COUNT, encode, KINDS, makeFolder, PROMPT } from './consumers/folders.ts';
import { expectSame, greedy, TOLERANCE } from './consumers/greedy.ts';
import { nativeLib } from './native-lib.ts';
import { required } from './real/real-model.ts';
import { lacuna, temporaryFolder } from './temporary.ts';

const parent = temporaryFolder();
const library = join(nativeLib, 'liblacuna_ort.so');

const kindOf = (name: string) => {
  const kind = KINDS.find((one) => one.name === name);
  if (kind === undefined) throw new Error(`there is no ${name}`);
  return kind;
};

describe('without a library', { timeout: 120_000 }, () => {
  const empty = join(parent, 'empty');
  beforeAll(() => mkdirSync(empty));

  it('says how to get one', async () => {
    const { code, stdout, stderr } = await lacuna(['ops', 'path'], undefined, undefined, empty);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/The native library cannot be used: this installation has none .*\n.*npm run build:native/s);
  });
});

describe.skipIf(!required && !existsSync(library))('lacuna ops', { timeout: 240_000 }, () => {
  let sparse: string;
  beforeAll(async () => {
    sparse = await makeFolder(parent, kindOf('skip-and-select'));
  }, 120_000);

  it('prints the path', async () => {
    expect(await lacuna(['ops', 'path'])).toMatchObject({ code: 0, stdout: `${library}\n` });
    expect(JSON.parse((await lacuna(['ops', 'path', '--json'])).stdout)).toEqual({ path: library });
  });

  it('installs into a folder what onnxruntime-genai then loads, wherever the folder is, and takes it out again', async () => {
    const config = join(sparse, 'genai_config.json');
    const [before, listed] = [readFileSync(config, 'utf8'), readdirSync(join(sparse, 'onnx')).sort()];
    const ours = await greedy(sparse, await encode(sparse, PROMPT), COUNT);
    const generated = (folder: string) => genai({ folder, kind: 'libraries', promptIds: ours.promptIds, count: COUNT });

    for (let twice = 0; twice < 2; twice++) {
      const { code, stdout } = await lacuna(['ops', 'install', sparse, '--json']);
      expect(code).toBe(0);
      expect(JSON.parse(stdout).files).toEqual(['onnx/liblacuna_ort.so']);
    }
    expect(JSON.parse(readFileSync(config, 'utf8')).model.decoder.session_options.custom_ops_library).toBe(
      'onnx/liblacuna_ort.so',
    );
    if (hasPython) {
      const moved = join(parent, 'moved');
      renameSync(sparse, moved);
      const { tokens, mapped } = await generated(moved);
      expect(mapped).toEqual([join(moved, 'onnx/liblacuna_ort.so')]);
      expectSame({ tokens }, ours, TOLERANCE.sparse);
      renameSync(moved, sparse);
    }

    expect((await lacuna(['ops', 'install', sparse, '--undo'])).stdout).toMatch(/took out onnx\/liblacuna_ort/);
    expect(readFileSync(config, 'utf8')).toBe(before);
    expect(readdirSync(join(sparse, 'onnx')).sort()).toEqual(listed);
    expect((await lacuna(['ops', 'install', sparse, '--undo'])).stdout).toMatch(/nothing to take out/);
    if (hasPython) expect((await generated(sparse)).mapped).toEqual([]);
  });

  it('refuses a dense folder, one that is none, and one that names another library', async () => {
    const dense = await makeFolder(parent, kindOf('fp32'));
    const refused = await lacuna(['ops', 'install', dense]);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/holds no operator of Lacuna's.*\n.*lacuna sparsify/);
    expect(readdirSync(join(dense, 'onnx'))).not.toContain('liblacuna_ort.so');

    expect((await lacuna(['ops', 'install', parent])).stderr).toMatch(/is no model folder with a genai_config\.json/);

    const file = join(sparse, 'genai_config.json');
    const before = readFileSync(file, 'utf8');
    const config = JSON.parse(before);
    config.model.decoder.session_options.custom_ops_library = '/opt/other.so';
    writeFileSync(file, JSON.stringify(config));
    expect((await lacuna(['ops', 'install', sparse])).stderr).toMatch(
      /already names a library of operators: \/opt\/other\.so/,
    );
    await lacuna(['ops', 'install', sparse, '--undo']);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(config);
    writeFileSync(file, '{ "model": {} }');
    expect((await lacuna(['ops', 'install', sparse])).stderr).toMatch(/holds no usable decoder/);
    writeFileSync(file, before);
  });
});
