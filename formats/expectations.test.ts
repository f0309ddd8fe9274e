import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { float32Tensor, int64Tensor, type TensorExpr } from '../src/core/tensor.ts';
import { readFloats } from '../src/tensors/index.ts';
import { readExpectations } from './expectations.ts';
import { writeSafetensors } from './safetensors/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'lacuna-expectations-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const METADATA = {
  format: 'lacuna.expectations',
  version: '1',
  fingerprint: 'abc',
  tools: '{"transformers": "5.0.0"}',
  prompts: '[{"name": "short", "text": "Hi", "encoded": [1, 2]}]',
};

const TENSORS: Readonly<Record<string, TensorExpr>> = {
  input_ids: int64Tensor([1, 2, 3]),
  positions: int64Tensor([0, 2]),
  prefill_logits: float32Tensor([1, 2, 3, 4], [2, 2]),
  tokens: int64Tensor([1]),
  decode_logits: float32Tensor([5, 6], [1, 2]),
};

async function read(metadata: Record<string, string> = {}, tensors: Record<string, TensorExpr | undefined> = {}) {
  const path = join(folder, 'x.safetensors');
  const entries = Object.entries({ ...TENSORS, ...tensors }).flatMap(([name, data]) =>
    data === undefined ? [] : [{ name: `short.${name}`, data }],
  );
  await writeSafetensors(path, entries, { ...METADATA, ...metadata });
  return readExpectations(path);
}

describe('an expectations file', () => {
  it('holds prompts, what they were computed from and by, and logits that stay on disk', async () => {
    const { fingerprint, tools, prompts } = await read();
    expect({ fingerprint, tools }).toEqual({ fingerprint: 'abc', tools: { transformers: '5.0.0' } });
    const [{ prefillLogits, decodeLogits, ...prompt }] = prompts;
    expect(prompt).toEqual({
      name: 'short',
      text: 'Hi',
      encoded: [1, 2],
      ids: [1, 2, 3],
      positions: [0, 2],
      tokens: [1],
    });
    expect([...(await readFloats(prefillLogits))]).toEqual([1, 2, 3, 4]);
    expect([...(await readFloats(decodeLogits))]).toEqual([5, 6]);
  });

  it.each<[string, Record<string, string>, Record<string, TensorExpr | undefined>, RegExp]>([
    ['another format', { format: 'pt' }, {}, /its format is pt, version 1/],
    ['another version', { version: '2' }, {}, /version 2/],
    ['prompts that are no JSON', { prompts: '[' }, {}, /"prompts" of .*x\.safetensors/],
    ['no prompts', { prompts: '[]' }, {}, /"prompts" is not valid/],
    [
      'a prompt whose name is a path',
      { prompts: '[{"name": "../x", "text": null, "encoded": null}]' },
      {},
      /not valid/,
    ],
    ['ids that are negative', { prompts: '[{"name": "short", "text": "", "encoded": [-1]}]' }, {}, /not valid/],
    ['a tensor that is missing', {}, { tokens: undefined }, /lacks the tensor "short\.tokens"/],
    ['ids of another type', {}, { tokens: float32Tensor([1]) }, /"short\.tokens" is float32 \[1\]/],
    ['logits of fewer rows', {}, { decode_logits: float32Tensor([], [0, 2]) }, /is float32 \[0,2\], .* \[1, vocab/],
    ['positions that do not end the prompt', {}, { positions: int64Tensor([0, 1]) }, /do not ascend to 2/],
    ['positions in disorder', {}, { positions: int64Tensor([2, 2]) }, /do not ascend to 2/],
    ['a position before the first', {}, { positions: int64Tensor([-1, 2]) }, /do not ascend/],
  ])('is refused with %s', async (_, metadata, tensors, message) => {
    await expect(read(metadata, tensors)).rejects.toThrow(message);
  });

  it('is refused for NaN when its logits are read', async () => {
    const { prompts } = await read({}, { decode_logits: float32Tensor([Number.NaN, 0], [1, 2]) });
    await expect(readFloats(prompts[0].decodeLogits)).rejects.toThrow(/NaN/);
  });
});
