/** Adapters merged into a checkpoint. test/lora.test.ts compares with PEFT. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { float32Tensor, int32Tensor, type TensorExpr, transpose } from '../../src/core/tensor.ts';
import { readFloats, readTensorBytes } from '../../src/tensors/index.ts';
import { openCheckpoint } from '../checkpoint.ts';
import { writeSafetensors } from '../safetensors/index.ts';
import { mergeAdapter } from './index.ts';

const fixtures = join(import.meta.dirname, '../../fixtures');
const plain = join(fixtures, 'lora/plain');
const base = await openCheckpoint(join(fixtures, 'llama-variants/attention-bias'));
const scratch = await mkdtemp(join(tmpdir(), 'lacuna-lora-'));
afterAll(() => rm(scratch, { recursive: true }));

const Q = 'model.layers.0.self_attn.q_proj';
const config = { peft_type: 'LORA', r: 1, lora_alpha: 2, target_modules: ['q_proj'] };

let count = 0;
async function adapter(changes: object, tensors: Readonly<Record<string, TensorExpr>>): Promise<string> {
  count += 1;
  const path = join(scratch, String(count));
  await mkdir(path);
  await writeFile(join(path, 'adapter_config.json'), JSON.stringify({ ...config, ...changes }));
  const entries = Object.entries(tensors).map(([name, data]) => ({ name: `base_model.model.${name}`, data }));
  await writeSafetensors(join(path, 'adapter_model.safetensors'), entries);
  return path;
}

/** Factors of one number each on the diagonal's first element: only W[0][0] changes. */
function corner(module: string, a: number, b: number, [rows, columns]: readonly number[] = [64, 64]) {
  const first = (value: number, length: number) => [value, ...new Array(length - 1).fill(0)];
  return {
    [`${module}.lora_A.weight`]: float32Tensor(first(a, columns), [1, columns]),
    [`${module}.lora_B.weight`]: float32Tensor(first(b, rows), [rows, 1]),
  };
}

function tensorOf(checkpoint: Awaited<ReturnType<typeof openCheckpoint>>, name: string): TensorExpr {
  const tensor = checkpoint.tensors.get(name);
  if (tensor === undefined) throw new Error(`no ${name}`);
  return tensor;
}

describe('merging', () => {
  test.each([
    ['alpha / r', {}, 2],
    ['alpha / sqrt(r)', { r: 1, use_rslora: true, lora_alpha: 3 }, 3],
    ['an alpha of its own', { alpha_pattern: { q_proj: 5 } }, 5],
    ['an alpha by its whole name', { alpha_pattern: { [`^${Q}`]: 7 } }, 7],
    ["another module's alpha", { alpha_pattern: { _proj: 5, k_proj: 6, '^q_proj': 7 } }, 2],
  ])('adds B A times %s', async (_, changes, scale) => {
    const merged = await mergeAdapter(base, await adapter(changes, corner(Q, 0.5, 0.25)));
    const [before, after] = await Promise.all([base, merged].map((of) => readFloats(tensorOf(of, `${Q}.weight`))));
    before[0] += scale * 0.125;
    expect(after).toEqual(before);
  });

  test('leaves all else, and changes the fingerprint as the adapter changes', async () => {
    const paths = [
      await adapter({}, corner(Q, 1, 1)),
      await adapter({}, corner(Q, 1, 2)),
      await adapter({ lora_alpha: 3 }, corner(Q, 1, 1)),
    ];
    const all = await Promise.all(paths.map((path) => mergeAdapter(base, path)));
    for (const [name, tensor] of all[0].tensors)
      if (name !== `${Q}.weight`) expect(tensor).toBe(base.tensors.get(name));
    expect([...all[0].tensors.keys()]).toEqual([...base.tensors.keys()]);
    expect(new Set([base, ...all].map(({ fingerprint }) => fingerprint)).size).toBe(4);
    expect((await mergeAdapter(base, paths[0])).fingerprint).toBe(all[0].fingerprint);
  });

  test('is done while rows are read, whatever is done to them afterwards', async () => {
    const merged = tensorOf(await mergeAdapter(base, plain), `${Q}.weight`);
    const [values, turned] = [await readFloats(merged), await readFloats(transpose(merged))];
    expect(turned).toEqual(values.map((_, i) => values[(i % 64) * 64 + Math.floor(i / 64)]));
    expect(Buffer.compare(await readTensorBytes(tensorOf(base, `${Q}.weight`)), Buffer.from(values.buffer))).not.toBe(
      0,
    );
  });
});

describe('refused', () => {
  test('an adapter of another model, with all that does not fit', async () => {
    const path = await adapter(
      { rank_pattern: { k_proj: 2 } },
      {
        ...corner('model.layers.9.self_attn.q_proj', 1, 1),
        ...corner(Q, 1, 1, [64, 128]),
        ...corner('model.layers.0.self_attn.k_proj', 1, 1, [32, 64]),
        'model.layers.0.mlp.up_proj.lora_A.weight': float32Tensor([1], [1, 1]),
        ...corner('model.norm', 1, 1),
      },
    );
    const error = await mergeAdapter(base, path).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'mismatch', hint: expect.stringContaining('base_model_name_or_path') });
    expect(error.message.split('\n').slice(1).sort()).toEqual(
      [
        '  model.layers.0.mlp.up_proj has lora_A only',
        '  model.layers.0.self_attn.k_proj: lora_A is [1,64], the model wants [2,64]',
        '  model.layers.0.self_attn.k_proj: lora_B is [32,1], the model wants [32,2]',
        `  ${Q}: lora_A is [1,128], the model wants [1,64]`,
        '  model.layers.9.self_attn.q_proj.weight is not in the model',
        '  model.norm.weight is no matrix but [64]',
      ].sort(),
    );
  });

  test.each([
    [{ peft_type: 'IA3' }, 'unsupported', /of type "IA3"/],
    [{ use_dora: true, bias: 'all' }, 'unsupported', /bias = "all", use_dora = true/],
    [{ modules_to_save: ['lm_head'] }, 'unsupported', /modules_to_save/],
    [{ init_lora_weights: 'pissa' }, 'unsupported', /init_lora_weights = "pissa"/],
    [{ some_new_config: { x: 1 } }, 'unsupported', /some_new_config/],
    [{ r: 0 }, 'bad-file', /r/],
    [{ lora_alpha: 'x' }, 'bad-file', /lora_alpha/],
    [{ rank_pattern: { '(a+)+$': 2 } }, 'unsupported', /rank_pattern/],
    [{ rank_pattern: { q_proj: 0.5 } }, 'mismatch', /lora_A is/],
    [{ alpha_pattern: { q_proj: 'x' } }, 'bad-file', /alpha_pattern/],
  ])('%j', async (changes, code, message) => {
    const path = await adapter(changes, corner(Q, 1, 1));
    await expect(mergeAdapter(base, path)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
      hint: expect.stringMatching(/./),
    });
  });

  test('tensors that are no products', async () => {
    const embedding = { 'model.embed_tokens.lora_embedding_A': float32Tensor([1], [1, 1]) };
    await expect(mergeAdapter(base, await adapter({}, embedding))).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('lora_embedding_A'),
    });
    await expect(mergeAdapter(base, await adapter({}, {}))).rejects.toMatchObject({ code: 'unsupported' });
    const integers = { ...corner(Q, 1, 1), [`${Q}.lora_A.weight`]: int32Tensor(new Array(64).fill(1), [1, 64]) };
    await expect(mergeAdapter(base, await adapter({}, integers))).rejects.toMatchObject({ code: 'mismatch' });
  });

  test('NaN', async () => {
    const merged = await mergeAdapter(base, await adapter({}, corner(Q, Number.NaN, 1)));
    await expect(readFloats(tensorOf(merged, `${Q}.weight`))).rejects.toMatchObject({ code: 'non-finite' });
  });

  test('a folder that is none, or holds a pickle', async () => {
    await expect(mergeAdapter(base, join(scratch, 'nowhere'))).rejects.toMatchObject({ code: 'not-found' });
    const path = join(scratch, 'pickle');
    await mkdir(path);
    await writeFile(join(path, 'adapter_config.json'), await readFile(join(plain, 'adapter_config.json')));
    await writeFile(join(path, 'adapter_model.bin'), 'pickle');
    await expect(mergeAdapter(base, path)).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringContaining('has no adapter_model.safetensors'),
    });
  });
});
