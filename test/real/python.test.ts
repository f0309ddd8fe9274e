/** A folder computes the same in onnxruntime-node and in Python's onnxruntime (fixtures/oracle/ort_compare.py). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeSafetensors } from '../../formats/safetensors/index.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { float32Tensor, int64Tensor } from '../../src/core/tensor.ts';
import { calibrate, convert, type PlanOptions, plan, sparsify } from '../../src/index.ts';
import { openSession } from '../../src/runtime/index.ts';
import { runScript } from '../python/host.ts';
import { temporaryFolder, texts, tinyLlama } from '../temporary.ts';
import { hasPython, python, root } from './real-model.ts';

const folder = temporaryFolder();
const text = join(texts, 'test.txt');

const PRESETS: readonly PlanOptions[] = [
  { preset: 'top-k', keep: 0.2, prefill: 'sparse' },
  { preset: 'top-k', keep: 0.2, prefill: 'dense' },
  { preset: 'ffn-skip', skip: 0.2, prefill: 'sparse' },
];

describe.runIf(hasPython)('a sparse folder in Python', { timeout: 120_000 }, () => {
  it.each(PRESETS)('%j gives the logits of onnxruntime-node, at once and token by token', async (preset) => {
    const name = [preset.preset, preset.prefill].join('-');
    const [statistics, planned, sparse] = ['statistics.json', `${name}.json`, name].map((file) => join(folder, file));
    await calibrate({
      checkpoint: tinyLlama,
      data: [join(texts, 'fit.txt')],
      output: statistics,
      tokens: 2048,
      force: true,
    });
    await plan({ statistics, output: planned, preset });
    await sparsify({ source: tinyLlama, plan: planned, output: sparse });

    const expected = join(folder, `${name}.safetensors`);
    await writeLogits(sparse, expected);
    // With a dense prefill, one call of many tokens and many calls of one are two different computations by contract.
    for (const feed of preset.prefill === 'dense' ? ['chunk'] : ['chunk', 'token']) {
      // A token whose score lies within rounding of a threshold may fall on its other side: one position of 128.
      expect(await comparePython(sparse, expected, '--feed', feed, '--flips', '1')).toMatch(/fed by/);
    }
  });
});

describe.runIf(hasPython)('bfloat16 weights in Python', { timeout: 120_000 }, () => {
  it('give the logits of float32, to the bit', async () => {
    const dense = join(folder, 'dense');
    await convert({ checkpoint: tinyLlama, output: dense, dtype: ['fp32', 'bf16'] });
    const [wide, narrow] = ['model', 'model_bf16'].map((name) => join(dense, `onnx/${name}.onnx`));
    const [expected, actual] = ['wide', 'narrow'].map((name) => join(folder, `${name}.safetensors`));
    const logits = await writeLogits(wide, expected);
    expect(Buffer.from((await writeLogits(narrow, actual)).buffer).equals(Buffer.from(logits.buffer))).toBe(true);
    for (const model of [wide, narrow]) expect(await comparePython(model, expected)).toMatch(/fed by chunk/);
  });
});

/** Logits of onnxruntime-node on 128 tokens, also into a file that ort_compare.py reads. */
async function writeLogits(model: string, file: string): Promise<Float32Array> {
  const tokens = (await loadTokenizer(tinyLlama)).encode(readFileSync(text, 'utf8')).slice(0, 128);
  const session = await openSession(model, { threads: 1 });
  const { logits, vocab } = await session.step(tokens, session.emptyCache(), { logits: 'all' });
  await session.close();
  await writeSafetensors(file, [
    { name: 'input_ids', data: int64Tensor(tokens) },
    { name: 'logits', data: float32Tensor(logits, [tokens.length, vocab]) },
  ]);
  return logits;
}

/** What ort_compare.py prints; it fails where the logits are too far off. */
function comparePython(model: string, expected: string, ...options: string[]): Promise<string> {
  const script = join(root, 'fixtures/oracle/ort_compare.py');
  return runScript(python, script, [model, expected, ...options]);
}
