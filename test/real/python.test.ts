/** A sparse folder computes the same in onnxruntime-node and in Python's onnxruntime (fixtures/oracle/ort_compare.py). */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeSafetensors } from '../../formats/safetensors/index.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { float32Tensor, int64Tensor } from '../../src/core/tensor.ts';
import { calibrate, type PlanOptions, plan, sparsify } from '../../src/index.ts';
import { openSession } from '../../src/runtime/index.ts';
import { temporaryFolder, texts, tinyLlama } from '../temporary.ts';
import { hasPython, python, root } from './real-model.ts';

const folder = temporaryFolder();
const text = join(texts, 'test.txt');

const PRESETS: readonly PlanOptions[] = [
  { preset: 'top-k', density: 0.2 },
  { preset: 'top-k', density: 0.2, prefill: 'dense' },
  { preset: 'ffn-skip', targetSkipped: 0.2 },
];

describe.runIf(hasPython)('a sparse folder in Python', { timeout: 120_000 }, () => {
  it.each(PRESETS)('%j gives the logits of onnxruntime-node, at once and token by token', async (preset) => {
    const name = [preset.preset, preset.prefill ?? 'sparse'].join('-');
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

    const tokens = (await loadTokenizer(tinyLlama)).encode(readFileSync(text, 'utf8')).slice(0, 128);
    const session = await openSession(sparse, { threads: 1 });
    const { logits, vocab } = await session.step(tokens, session.emptyCache(), { logits: 'all' });
    await session.close();
    const expected = join(folder, `${name}.safetensors`);
    await writeSafetensors(expected, [
      { name: 'input_ids', data: int64Tensor(tokens) },
      { name: 'logits', data: float32Tensor(logits, [tokens.length, vocab]) },
    ]);

    // With a dense prefill, one call of many tokens and many calls of one are two different computations by contract.
    for (const feed of preset.prefill === 'dense' ? ['chunk'] : ['chunk', 'token']) {
      // A token whose score lies within rounding of a threshold may fall on its other side: one position of 128.
      const args = [join(root, 'fixtures/oracle/ort_compare.py'), sparse, expected, '--feed', feed, '--flips', '1'];
      expect(execFileSync(python, args, { encoding: 'utf8' })).toMatch(/fed by/);
    }
  });
});
