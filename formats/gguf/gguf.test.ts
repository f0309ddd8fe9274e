/** GGUF files as checkpoints, compared with their original Hugging Face folders (fixtures/gguf/make.py). */
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { openModel } from '../../converters/index.ts';
import { hasTokenizer } from '../../src/core/checkpoint.ts';
import { cast } from '../../src/core/tensor.ts';
import { readTensorBytes } from '../../src/tensors/index.ts';
import { openCheckpoint } from '../checkpoint.ts';
import { loadTokenizer } from '../tokenizer/index.ts';
import { openGguf } from './index.ts';
import { readGguf } from './read.ts';

const fixtures = join(import.meta.dirname, '../../fixtures');
const scratch = await mkdtemp(join(tmpdir(), 'lacuna-gguf-'));
afterAll(() => rm(scratch, { recursive: true }));

describe('a model with biases', async () => {
  const gguf = await openCheckpoint(join(fixtures, 'gguf/attention-bias.gguf'));
  const folder = await openCheckpoint(join(fixtures, 'llama-variants/attention-bias'));

  test('has the names and, query and key rows put back, the values of the folder', async () => {
    expect([...gguf.tensors.keys()].sort()).toEqual([...folder.tensors.keys()].sort());
    for (const [name, tensor] of folder.tensors) {
      const found = gguf.tensors.get(name) ?? tensor;
      expect(found).not.toBe(tensor);
      const bytes = await Promise.all([tensor, found].map((expr) => readTensorBytes(cast(expr, 'float32'))));
      expect(Buffer.compare(bytes[0], bytes[1]), name).toBe(0);
    }
  });

  test('is the same model to a converter', () => {
    const [ours, theirs] = [gguf, folder].map((checkpoint) => openModel(checkpoint, { precision: 'fp32' }).spec);
    expect(ours).toEqual(theirs);
  });

  test('has a fingerprint of its own, which weights change', async () => {
    const copy = await readFile(join(fixtures, 'gguf/attention-bias.gguf'));
    const path = join(scratch, 'changed.gguf');
    await writeFile(path, copy);
    expect((await openGguf(path)).fingerprint).toBe(gguf.fingerprint);
    copy[copy.length - 64] ^= 1;
    await writeFile(path, copy);
    expect((await openGguf(path)).fingerprint).not.toBe(gguf.fingerprint);
    expect(gguf.fingerprint).not.toBe(folder.fingerprint);
  });

  test('has a tokenizer that puts nothing first, every digit a word', async () => {
    const tokenizer = await loadTokenizer(gguf);
    expect(tokenizer.bosTokenId).toBeUndefined();
    expect(tokenizer.encode('a 10\n<|end|>')).toEqual(['a', ' ', '1', '0', '\n', '<|end|>'].map(idOf));
  });
});

/** Ids of the fixture's vocabulary, by its rule. */
function idOf(token: string): number {
  return { '\n': 0, '<|begin|>': 1, '<|end|>': 2, ' ': 3 }[token] ?? token.charCodeAt(0) - 0x21 + 4;
}

test('a file without a tokenizer', async () => {
  const checkpoint = await openCheckpoint(join(fixtures, 'hostile/files/nan.gguf'));
  expect(hasTokenizer(checkpoint)).toBe(false);
  await expect(loadTokenizer(checkpoint)).rejects.toMatchObject({ code: 'not-found' });
});

describe('a model of the kind of Llama 3.2', async () => {
  const checkpoint = await openCheckpoint(join(fixtures, 'gguf/llama3.gguf'));

  test('gets its position scaling back from the divisors, and all tokens that end something', () => {
    expect(checkpoint.config).toMatchObject({
      rope_theta: 500_000,
      rope_scaling: {
        rope_type: 'llama3',
        factor: 32,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 8192,
      },
      rms_norm_eps: 1e-5,
      head_dim: 32,
      tie_word_embeddings: true,
      vocab_size: 9,
      bos_token_id: 5,
      eos_token_id: [6, 7, 8],
    });
    expect([...checkpoint.tensors.keys()]).toEqual(['model.embed_tokens.weight']);
  });

  test('has a tokenizer that begins with its BOS, and a chat template', async () => {
    const tokenizer = await loadTokenizer(checkpoint);
    expect(tokenizer.bosTokenId).toBe(5);
    expect(tokenizer.encode('hi hi<|eot_id|>')).toEqual([5, 3, 4, 7]);
    expect(tokenizer.decode([5, 3, 4, 7], { skipSpecialTokens: true })).toBe('hi hi');
    expect(tokenizer.chat([{ role: 'user', content: 'hi' }], { addGenerationPrompt: true })).toBe(
      '<|begin_of_text|>hi<|eot_id|>',
    );
  });
});

test('a header longer than what is read at first is read on', async () => {
  const original = await readFile(join(fixtures, 'gguf/types.gguf'));
  const before = await readGguf(join(fixtures, 'gguf/types.gguf'));
  // One more key before all others. It has 5 MB less the 26 bytes beside its text, so it moves what follows by a
  // multiple of 32.
  const text = Buffer.alloc((5 << 20) - 26, 'x');
  const key = Buffer.concat([uint64(6), Buffer.from('a.long'), Buffer.of(8, 0, 0, 0), uint64(text.length), text]);
  const keys = uint64(Number(original.readBigUInt64LE(16)) + 1);
  const path = join(scratch, 'long.gguf');
  await writeFile(path, Buffer.concat([original.subarray(0, 16), keys, key, original.subarray(24)]));

  const { metadata, tensors } = await readGguf(path);
  expect(metadata.get('a.long')).toBe(text.toString());
  for (const [name, tensor] of tensors) {
    const wanted = before.tensors.get(name) ?? tensor;
    expect(tensor.byteOffset).toBe(wanted.byteOffset + (5 << 20));
    expect(Buffer.compare(await readTensorBytes(tensor), await readTensorBytes(wanted))).toBe(0);
  }
});

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

test('a text longer than any is refused before it is read', async () => {
  // Without the limit, a sparse file of two gigabytes with one such name took the same amount of memory.
  const path = join(scratch, 'long-name.gguf');
  const header = Buffer.alloc(32);
  header.write('GGUF');
  header.writeUInt32LE(3, 4);
  header.writeBigUInt64LE(1n, 16); // one metadata key,
  header.writeBigUInt64LE(1n << 30n, 24); // with a name of a gigabyte
  await writeFile(path, header);
  await truncate(path, 2 ** 31);
  const limit = 'metadata key 0 takes 1073741824 bytes; the limit is 16777216';
  await expect(readGguf(path)).rejects.toMatchObject({ code: 'bad-file', message: expect.stringContaining(limit) });
});
