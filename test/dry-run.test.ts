/** `convert --dry-run`: sizes to the byte, and everything that is wrong at once. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lacuna, root, temporaryFolder, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();

function variant(name: string, change: (path: string) => void, from = tinyLlama): string {
  const path = join(folder, name);
  cpSync(from, path, { recursive: true, filter: (source) => !/\.cache|expectations/.test(source) });
  change(path);
  return path;
}

function editConfig(path: string, changes: Record<string, unknown>): void {
  const file = join(path, 'config.json');
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...changes }));
}

async function dryRun(args: readonly string[]) {
  const { code, stdout } = await lacuna([...args, '--dry-run', '--json', '--quiet']);
  return { code, found: JSON.parse(stdout) };
}

const messages = (found: { problems: { message: string }[] }) =>
  found.problems.map(({ message }) => message).join('\n');

describe('a conversion that goes through', () => {
  it('writes exactly the files and sizes that were foretold', { timeout: 120_000 }, async () => {
    const out = join(folder, 'out');
    const args = ['convert', tinyLlama, '-o', out, '--dtype', 'fp32,fp16,int4'];
    const { code, found } = await dryRun(args);
    expect(code).toBe(0);
    expect(existsSync(out)).toBe(false);
    expect((await lacuna([...args, '--quiet'])).code).toBe(0);
    const written = readdirSync(out, { recursive: true, encoding: 'utf8' })
      .filter((path) => statSync(join(out, path)).isFile())
      .map((path) => ({ path, bytes: statSync(join(out, path)).size }));
    const byPath = (a: { path: string }, b: { path: string }) => (a.path < b.path ? -1 : 1);
    expect(found.files.sort(byPath)).toEqual(written.sort(byPath));
    expect(found.totalBytes).toBe(written.reduce((sum, { bytes }) => sum + bytes, 0));
    expect(found.estimate.seconds).toBeGreaterThan(0);
    expect(found.estimate.measuredBytes).toBeGreaterThan(0);
    expect(found.notes.join()).toMatch(/NaN.*65,504/);
  });

  it('says so, with what it takes', async () => {
    const { stdout } = await lacuna(['convert', tinyLlama, '-o', join(folder, 'free'), '--dry-run', '--quiet']);
    expect(stdout).toMatch(/onnx\/model\.onnx_data +10\.6 MB/);
    expect(stdout).toMatch(/disk: 10\.\d MB, of .* free\ntime: about .* that\s+were made now/);
    expect(stdout).toMatch(/Nothing stands in the way/);
  });
});

describe('everything that is wrong', () => {
  it('of config, shards, adapter, importance, output and reference is told at once', async () => {
    const sharded = join(root, 'fixtures/llama-variants/mistral-sharded');
    const broken = variant(
      'shards',
      (path) => {
        rmSync(join(path, readdirSync(path).filter((name) => /^model-.*safetensors$/.test(name))[0]));
        editConfig(path, { num_local_experts: 8, rope_scaling: { rope_type: 'spiral' } });
      },
      sharded,
    );
    const taken = join(folder, 'taken');
    mkdirSync(taken);
    const python = ['--verify', '--python', join(folder, 'no-python')];
    const importance = ['--dtype', 'int4', '--importance', join(folder, 'no-importance')];
    const { code, found } = await dryRun(['convert', broken, '-o', taken, ...importance, ...python]);
    expect(code).toBe(2);
    expect(found.problems.map(({ code: kind }: { code: string }) => kind)).toEqual([
      'exists',
      'not-found',
      'unsupported',
      'unsupported',
      'not-found',
      'not-found',
    ]);
    for (const part of [/taken already exists/, /is missing, with/, /num_local_experts = 8/, /"spiral"/])
      expect(messages(found)).toMatch(part);
    for (const part of [/no-importance/, /no-python does not run/]) expect(messages(found)).toMatch(part);
    expect(found.files).toBeUndefined();
    expect(found.notes.join()).toMatch(/No tokenizer\.json/);
  });

  it('of tensors is told beside what is wrong with the config', async () => {
    const wide = variant('wide', (path) => editConfig(path, { intermediate_size: 300, hidden_act: 'relu6' }));
    const { found } = await dryRun(['convert', wide, '-o', join(folder, 'x')]);
    expect(messages(found)).toMatch(/hidden_act = "relu6"[\s\S]*mlp\.gate_proj\.weight is \[384,128\], .* \[300,128\]/);
  });

  it('of the model is told beside an option of no use', async () => {
    const odd = variant('odd', (path) => editConfig(path, { num_local_experts: 4 }));
    const { found } = await dryRun(['convert', odd, '-o', join(folder, 'x'), '--asymmetric']);
    expect(messages(found)).toMatch(/fp32 stores no blocks[\s\S]*num_local_experts = 4/);
  });

  it('does not call weights missing whose file could not be read', async () => {
    const cut = variant('cut', (path) => {
      const file = join(path, 'model.safetensors');
      writeFileSync(file, readFileSync(file).subarray(0, 1_000_000));
    });
    const { found } = await dryRun(['convert', cut, '-o', join(folder, 'x')]);
    expect(found.problems).toHaveLength(1);
    expect(messages(found)).toMatch(/truncated/);
  });

  it('includes an adapter that does not fit, and options that have no use', async () => {
    const adapter = join(root, 'fixtures/lora/plain');
    const { found } = await dryRun(['convert', tinyLlama, '-o', join(folder, 'x'), '--adapter', adapter]);
    expect(messages(found)).toMatch(/does not fit/);
    const options = await dryRun(['convert', tinyLlama, '-o', join(folder, 'x'), '--asymmetric']);
    expect(messages(options.found)).toMatch(/fp32 stores no blocks/);
    expect(options.code).toBe(2);
  });

  it('includes a disk that is too small', async () => {
    // A file of 2 TiB that takes a few kilobytes: all of it is holes.
    const vast = variant('vast', (path) => rmSync(join(path, 'model.safetensors')));
    const [vocab, hidden, wide] = [4_194_304, 131_072, 8];
    editConfig(vast, {
      vocab_size: vocab,
      hidden_size: hidden,
      intermediate_size: wide,
      num_hidden_layers: 1,
      num_attention_heads: 1,
      num_key_value_heads: 1,
      head_dim: 2,
    });
    const shapes = {
      'model.embed_tokens.weight': [vocab, hidden],
      'model.norm.weight': [hidden],
      'model.layers.0.input_layernorm.weight': [hidden],
      'model.layers.0.post_attention_layernorm.weight': [hidden],
      'model.layers.0.self_attn.q_proj.weight': [2, hidden],
      'model.layers.0.self_attn.k_proj.weight': [2, hidden],
      'model.layers.0.self_attn.v_proj.weight': [2, hidden],
      'model.layers.0.self_attn.o_proj.weight': [hidden, 2],
      'model.layers.0.mlp.gate_proj.weight': [wide, hidden],
      'model.layers.0.mlp.up_proj.weight': [wide, hidden],
      'model.layers.0.mlp.down_proj.weight': [hidden, wide],
    };
    await writeHoles(join(vast, 'model.safetensors'), shapes);
    const { code, found } = await dryRun(['convert', vast, '-o', join(folder, 'x')]);
    expect(messages(found)).toMatch(/will take 219\d{10} bytes, and \d+ are free/);
    expect(found.totalBytes).toBeGreaterThan(4 * vocab * hidden);
    expect(code).toBe(2);
    // A build refuses it before it measures anything, and so does its dry run.
    for (const how of [
      ['--budget', 'ppl<=1.02', '--host', 'stock'],
      ['--preset', 'top-k', '--host', 'native', '--allow-slower'],
    ]) {
      const args = ['build', vast, '-o', join(folder, 'y'), ...how];
      const refused = await lacuna([...args, '--quiet']);
      expect(refused.stderr).toMatch(/models .* will take \d{13,} bytes, and \d+ are free at/);
      expect(refused.code).toBe(2);
      expect((await dryRun(args)).found.problem.message).toMatch(/are free at/);
    }
    expect(readdirSync(folder).filter((name) => name.startsWith('y'))).toEqual([]);
  });
});

/** A safetensors file of bf16 tensors whose bytes were never written. */
async function writeHoles(path: string, shapes: Record<string, readonly number[]>): Promise<void> {
  let end = 0;
  const fields = Object.entries(shapes).map(([name, shape]) => {
    const begin = end;
    end += 2 * shape.reduce((product, size) => product * size, 1);
    return [name, { dtype: 'BF16', shape, data_offsets: [begin, end] }];
  });
  const json = Buffer.from(JSON.stringify(Object.fromEntries(fields)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = await open(path, 'w');
  await file.write(Buffer.concat([length, json]));
  await file.truncate(8 + json.length + end);
  await file.close();
}
