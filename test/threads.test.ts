/** What several threads do: the same bytes as by one, and the same manners when something goes wrong. */
import { spawn } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readSafetensors, writeSafetensors } from '../formats/safetensors/index.ts';
import { elementCount } from '../src/core/dtype.ts';
import type { BytesTensor } from '../src/core/tensor.ts';
import { seededFloats } from './random.ts';
import { required } from './real/real-model.ts';
import { root, temporaryFolder, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const good = join(folder, 'good');

/** Large enough that three threads are started: 130 MB in fp32. */
const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 8000,
  hidden_size: 512,
  intermediate_size: 2048,
  num_hidden_layers: 7,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  tie_word_embeddings: true,
};

/** bfloat16 values in [-1, 1): the upper halves of floats. */
function weight(shape: readonly number[], seed: number): BytesTensor {
  const floats = new Uint32Array(seededFloats(seed)(elementCount(shape)).buffer);
  const bits = Uint16Array.from(floats, (word) => word >>> 16);
  return { kind: 'bytes', dtype: 'bfloat16', shape, bytes: new Uint8Array(bits.buffer) };
}

function tensors(): { readonly name: string; readonly data: BytesTensor }[] {
  const { hidden_size: hidden, intermediate_size: ffn, vocab_size: vocab } = CONFIG;
  const shapes: [string, number[]][] = [
    ['model.embed_tokens.weight', [vocab, hidden]],
    ['model.norm.weight', [hidden]],
  ];
  for (let layer = 0; layer < CONFIG.num_hidden_layers; layer++) {
    const name = (part: string) => `model.layers.${layer}.${part}.weight`;
    shapes.push(
      [name('self_attn.q_proj'), [hidden, hidden]],
      [name('self_attn.k_proj'), [hidden / 4, hidden]],
      [name('self_attn.v_proj'), [hidden / 4, hidden]],
      [name('self_attn.o_proj'), [hidden, hidden]],
      [name('mlp.gate_proj'), [ffn, hidden]],
      [name('mlp.up_proj'), [ffn, hidden]],
      [name('mlp.down_proj'), [hidden, ffn]],
      [name('input_layernorm'), [hidden]],
      [name('post_attention_layernorm'), [hidden]],
    );
  }
  return shapes.map(([name, shape], index) => ({ name, data: weight(shape, index + 1) }));
}

async function writeCheckpoint(path: string, entries: ReturnType<typeof tensors>): Promise<void> {
  mkdirSync(path);
  writeFileSync(join(path, 'config.json'), JSON.stringify(CONFIG));
  copyFileSync(join(tinyLlama, 'tokenizer.json'), join(path, 'tokenizer.json'));
  await writeSafetensors(join(path, 'model.safetensors'), entries);
}

/** The built command, in a process of its own: threads exist only there. */
async function lacuna(args: readonly string[], watch?: (kill: () => void) => void) {
  const child = spawn(process.execPath, [join(root, 'bin/lacuna.js'), ...args, '--quiet']);
  let stderr = '';
  child.stderr.on('data', (text) => (stderr += text));
  child.stdout.resume();
  watch?.(() => child.kill('SIGINT'));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, stderr };
}

const convert = (args: readonly string[], watch?: (kill: () => void) => void) => lacuna(['convert', ...args], watch);

function contents(output: string): Record<string, Buffer> {
  const files = readdirSync(output, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files.map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      return [path.slice(output.length + 1), readFileSync(path)];
    }),
  );
}

beforeAll(() => writeCheckpoint(good, tensors()), 60_000);

describe('converting on threads', { timeout: 120_000 }, () => {
  it.each(required ? ['fp32', 'fp16', 'int4'] : ['fp32', 'fp16'])(
    'gives the bytes of one thread in %s, checksums included',
    async (dtype) => {
      const [one, three] = ['1', '3'].map((threads) => join(folder, `${dtype}-${threads}`));
      for (const [output, threads] of [
        [one, '1'],
        [three, '3'],
      ])
        expect(await convert([good, '-o', output, '--dtype', dtype, '--threads', threads])).toEqual({
          code: 0,
          stderr: '',
        });
      const [expected, found] = [contents(one), contents(three)];
      expect(Object.keys(found)).toEqual(Object.keys(expected));
      for (const [name, bytes] of Object.entries(expected)) expect(bytes.equals(found[name]), name).toBe(true);
    },
  );

  it('names the weight that one of them refuses, and leaves nothing', async () => {
    const read = await readSafetensors(join(good, 'model.safetensors'));
    // Early and late in the order of jobs: whichever thread meets it.
    for (const name of ['model.layers.0.self_attn.k_proj.weight', 'model.layers.6.mlp.up_proj.weight']) {
      const path = join(folder, name);
      cpSync(good, path, { recursive: true });
      const weights = openSync(join(path, 'model.safetensors'), 'r+');
      const infinity = Uint16Array.of(0x7f80);
      writeSync(weights, infinity, 0, 2, (read.tensors.get(name)?.byteOffset ?? Number.NaN) + 2 * 1025);
      closeSync(weights);
      const output = join(folder, 'refused');
      const { code, stderr } = await convert([path, '-o', output, '--threads', '3']);
      expect(code).toBe(2);
      expect(stderr).toMatch(`error: Tensor "${name}" holds Infinity at [2, 1]`);
      expect(readdirSync(folder).filter((entry) => entry.startsWith('refused'))).toEqual([]);
    }
  });

  it('stops all of them at once', async () => {
    const output = join(folder, 'stopped');
    const isStarted = () =>
      readdirSync(folder, { recursive: true, encoding: 'utf8' }).some((name) => /stopped\.partial.*_data/.test(name));
    const { code, stderr } = await convert([good, '-o', output, '--dtype', 'int4', '--threads', '3'], (kill) => {
      const timer = setInterval(() => {
        if (!isStarted()) return;
        clearInterval(timer);
        kill();
      }, 2);
    });
    expect({ code, stderr }).toEqual({ code: 130, stderr: 'Stopped.\n' });
    expect(readdirSync(folder).filter((entry) => entry.startsWith('stopped'))).toEqual([]);
  });
});

describe('calibrating on threads', { timeout: 120_000 }, () => {
  const calibrate = (checkpoint: string, output: string, threads: string) => {
    const measured = ['--data', join(root, 'texts/fit.txt'), '--tokens', '1100', '--sequence-length', '256'];
    return lacuna(['calibrate', checkpoint, '-o', output, ...measured, '--with', 'input-grams', '--threads', threads]);
  };

  it('gives the bytes of one thread', async () => {
    const folders = ['1', '2', '6'].map((threads) => [threads, join(folder, `statistics-${threads}`)] as const);
    for (const [threads, output] of folders) {
      mkdirSync(output);
      const { code, stderr } = await calibrate(tinyLlama, join(output, 'statistics.json'), threads);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    }
    const [expected, ...others] = folders.map(([, output]) => contents(output));
    expect(Object.keys(expected)).toHaveLength(2);
    for (const found of others)
      for (const [name, bytes] of Object.entries(expected)) expect(bytes.equals(found[name]), name).toBe(true);
  });

  it('says what a thread met as one thread says it, and leaves nothing', async () => {
    // Gates times 2^30. Their squares are past what is summed exactly.
    const large = tensors().map(({ name, data }) => {
      if (!name.includes('gate_proj')) return { name, data };
      const words = new Uint16Array(data.bytes.buffer).map((word) => word + (30 << 7));
      return { name, data: { ...data, bytes: new Uint8Array(words.buffer) } };
    });
    const checkpoint = join(folder, 'large-gates');
    await writeCheckpoint(checkpoint, large);
    const output = join(folder, 'large');
    mkdirSync(output);
    const [alone, shared] = [
      await calibrate(checkpoint, join(output, 'statistics.json'), '1'),
      await calibrate(checkpoint, join(output, 'statistics.json'), '2'),
    ];
    expect(alone.stderr).toMatch(/A sum reached .* past which/);
    expect(alone.code).not.toBe(0);
    expect(shared).toEqual(alone);
    expect(readdirSync(output)).toEqual([]);
  });
});
