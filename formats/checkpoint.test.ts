/** Checkpoints open lazily, whole or in shards. Any other path is refused by name. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hasTokenizer } from '../src/core/checkpoint.ts';
import { float32Tensor, int32Tensor, type TensorExpr } from '../src/core/tensor.ts';
import { readFloats } from '../src/tensors/index.ts';
import { openCheckpoint } from './checkpoint.ts';
import { writeSafetensors } from './safetensors/write.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lacuna-checkpoint-'));
});
afterEach(() => rm(folder, { recursive: true }));

const CONFIG = { model_type: 'llama', hidden_size: 8 };
const INDEX = 'model.safetensors.index.json';

async function writeJson(name: string, value: unknown, at = folder): Promise<void> {
  await writeFile(join(at, name), JSON.stringify(value));
}

async function writeTensors(file: string, tensors: Readonly<Record<string, TensorExpr>>, at = folder): Promise<void> {
  await writeSafetensors(
    join(at, file),
    Object.entries(tensors).map(([name, data]) => ({ name, data })),
  );
}

const a = float32Tensor([1, 2]);
const b = float32Tensor([3, 4, 5], [3, 1]);
const c = int32Tensor([6]);

describe('one file', () => {
  beforeEach(() => writeJson('config.json', CONFIG));

  test('gives config and tensors; float ones must be finite', async () => {
    await writeTensors('model.safetensors', { a, c });
    const checkpoint = await openCheckpoint(folder);
    expect(checkpoint).toMatchObject({
      path: folder,
      config: CONFIG,
      generationConfig: undefined,
    });
    expect(hasTokenizer(checkpoint)).toBe(false);
    expect([...checkpoint.tensors.values()]).toMatchObject([
      { name: 'a', mustBeFinite: true },
      { name: 'c', mustBeFinite: false },
    ]);
    expect(await readFloats(checkpoint.tensors.get('a') ?? c)).toEqual(Float32Array.of(1, 2));
  });

  test('NaN is let through with allowNonFinite', async () => {
    await writeTensors('model.safetensors', { a: float32Tensor([Number.NaN]) });
    const read = async (allowNonFinite: boolean): Promise<Float32Array> =>
      readFloats((await openCheckpoint(folder, { allowNonFinite })).tensors.get('a') ?? c);
    await expect(read(false)).rejects.toMatchObject({ code: 'non-finite' });
    expect(await read(true)).toEqual(Float32Array.of(Number.NaN));
  });

  test('generation_config.json and tokenizer.json are noticed', async () => {
    await writeTensors('model.safetensors', { a });
    await writeJson('generation_config.json', { eos_token_id: 2 });
    await writeJson('tokenizer.json', {});
    const checkpoint = await openCheckpoint(folder);
    expect(checkpoint.generationConfig).toEqual({ eos_token_id: 2 });
    expect(hasTokenizer(checkpoint)).toBe(true);
  });

  test('comes before an index, as in Transformers, and pickles beside it are not looked at', async () => {
    await writeTensors('model.safetensors', { a });
    await writeJson(INDEX, { weight_map: { b: 'model-00001-of-00001.safetensors' } });
    await writeFile(join(folder, 'pytorch_model.bin'), 'pickle');
    expect([...(await openCheckpoint(folder)).tensors.keys()]).toEqual(['a']);
  });
});

describe('shards', () => {
  const [first, second] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
  beforeEach(() => writeJson('config.json', CONFIG));

  test('are one checkpoint', async () => {
    await writeTensors(first, { a });
    await writeTensors(second, { c, b });
    await writeJson(INDEX, { metadata: {}, weight_map: { a: first, b: second, c: second } });
    const { tensors } = await openCheckpoint(folder);
    expect([...tensors.keys()]).toEqual(['a', 'c', 'b']);
    expect(await readFloats(tensors.get('b') ?? a)).toEqual(Float32Array.of(3, 4, 5));
  });

  test('with everything wrong at once are told of at once', async () => {
    await writeTensors(first, { a, x: c });
    await writeTensors('model-old.safetensors', { a });
    await writeJson(INDEX, { weight_map: { a: first, lost: first, b: second, c: second } });
    await expect(openCheckpoint(folder)).rejects.toMatchObject({
      code: 'not-found',
      message: [
        `${join(folder, INDEX)} and the files beside it do not agree:`,
        '  model-old.safetensors is in the folder but not in the index',
        `  ${second} is missing, with 2 tensors such as "b"`,
        `  ${first} lacks tensor "lost"`,
        `  ${first} holds tensor "x", which the index does not put there`,
      ].join('\n'),
    });
  });
});

describe('the fingerprint', () => {
  async function fingerprint(
    name: string,
    config: unknown,
    ...shards: readonly Readonly<Record<string, TensorExpr>>[]
  ): Promise<string> {
    const at = join(folder, name);
    await mkdir(at);
    await writeJson('config.json', config, at);
    if (shards.length === 1) await writeTensors('model.safetensors', shards[0], at);
    else {
      const weightMap: Record<string, string> = {};
      for (const [i, tensors] of shards.entries()) {
        await writeTensors(`model-${i}.safetensors`, tensors, at);
        for (const tensor of Object.keys(tensors)) weightMap[tensor] = `model-${i}.safetensors`;
      }
      await writeJson(INDEX, { weight_map: weightMap }, at);
    }
    return (await openCheckpoint(at)).fingerprint;
  }

  test('is that of the model, however it is cut, and changes with config, names, types and shapes', async () => {
    const whole = await fingerprint('whole', CONFIG, { a, b, c });
    expect(whole).toMatch(/^[0-9a-f]{64}$/);
    expect(await fingerprint('order', CONFIG, { c, a, b })).toBe(whole);
    expect(await fingerprint('shards', CONFIG, { b }, { a, c })).toBe(whole);
    const others = [
      await fingerprint('config', { ...CONFIG, hidden_size: 9 }, { a, b, c }),
      await fingerprint('name', CONFIG, { a, b, d: c }),
      await fingerprint('type', CONFIG, { a, b, c: float32Tensor([6]) }),
      await fingerprint('shape', CONFIG, { a, b: float32Tensor([3, 4, 5]), c }),
      await fingerprint('fewer', CONFIG, { a, b }),
    ];
    expect(new Set([whole, ...others]).size).toBe(6);
  });
});

describe('what is no checkpoint', () => {
  test.each([
    [
      'meta-llama/Llama-3.2-1B',
      'not-found',
      /download it first: hf download meta-llama\/Llama-3.2-1B --local-dir Llama-3.2-1B/,
    ],
    ['/no/such/folder', 'not-found', /^Give the folder of a checkpoint/],
  ])('a path that is not there: %s', async (path, code, hint) => {
    await expect(openCheckpoint(path)).rejects.toMatchObject({ code, hint: expect.stringMatching(hint) });
  });

  test.each([
    ['model.gguf', 'bad-file', /is no valid GGUF file/],
    ['pytorch_model.bin', 'unsupported', /is a pickle, which is never read/],
    ['model.PT', 'unsupported', /is a pickle/],
    ['consolidated.00.pth', 'unsupported', /is a pickle/],
    ['model.safetensors', 'usage', /is a file/],
    ['notes.txt', 'usage', /is a file/],
  ])('a file: %s', async (name, code, message) => {
    await writeFile(join(folder, name), '');
    await expect(openCheckpoint(join(folder, name))).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
      hint: expect.stringMatching(/./),
    });
  });

  test('a folder with a Hub-like name that is there is opened, not called a Hub id', async () => {
    await expect(openCheckpoint(folder)).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringContaining('has neither'),
    });
  });
});
