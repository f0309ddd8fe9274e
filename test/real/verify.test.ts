/** Conversions held against Transformers itself: LLaMA and Gemma variants, GGUF, adapters, and the two real models. */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type ConvertOptions, convert, verify, writeExpectations } from '../../src/index.ts';
import { warmPython } from '../python/warm.ts';
import { temporaryFolder, tinyLlama } from '../temporary.ts';
import { converted, linkedCopy } from './converted.ts';
import {
  gemma,
  hasGemma,
  hasSmollm2,
  transformersPython as python,
  required,
  root,
  smollm2,
  THREADS,
} from './real-model.ts';

const folder = temporaryFolder();
let count = 0;

/** Only the first conversion starts Python as users do: PyTorch and Transformers take seconds to load. */
const warm = python && warmPython(python, folder);

async function verified(checkpoint: string, options: Partial<ConvertOptions> = {}) {
  const index = count++;
  const reference = { python: index === 0 ? python : warm };
  const output = join(folder, String(index));
  const { checks } = await convert({ checkpoint, output, threads: THREADS, verify: reference, ...options });
  console.log(checkpoint.slice(root.length), JSON.stringify(checks?.map(({ precision, all }) => [precision, all])));
  return checks ?? [];
}

/** A real model in each precision, against Transformers' logits, which are computed once. */
async function verifiedEach(checkpoint: string) {
  const name = basename(checkpoint);
  const expectations = join(folder, `${name}.safetensors`);
  await writeExpectations({ checkpoint, output: expectations, python: warm, threads: THREADS });
  const found = [];
  for (const dtype of ['fp32', 'fp16', 'bf16', 'int8', 'int4'] as const) {
    const copy = linkedCopy(await converted(checkpoint, dtype), join(folder, `${name}-${dtype}`));
    const { checks } = await verify({ folder: copy, checkpoint, expectations, threads: THREADS });
    found.push(...checks);
  }
  console.log(name, JSON.stringify(found.map(({ precision, all }) => [precision, all])));
  return found;
}

/** Every variant's logits are held against Transformers' elsewhere; these, whether `verify` asks it the right way. */
const VARIANTS = ['llama-variants/rope-yarn', 'gemma-variants/gemma3-multimodal-new'];

describe.runIf(required || python !== undefined)('against Transformers', { timeout: 900_000 }, () => {
  it.each(VARIANTS)('%s is right', async (name) => {
    const checks = await verified(join(root, 'fixtures', name));
    expect(checks).toMatchObject([{ reference: 'transformers', passed: true, failures: [] }]);
  });

  const gguf = join(root, 'fixtures/real/.cache/smollm2-135m.gguf');
  it.runIf(required || existsSync(gguf))('a GGUF file is what Transformers makes of it', async () => {
    expect(await verified(gguf)).toMatchObject([{ passed: true }]);
  });

  it('a GGUF file that Transformers reads in part is no reference', async () => {
    // It has biases, which Transformers 5.24 leaves out without a word.
    const partial = verified(join(root, 'fixtures/gguf/attention-bias.gguf'));
    await expect(partial).rejects.toThrow(/reads only \d+ of the \d+ weights of this GGUF file/);
  });

  it('a merged adapter is what PEFT merges', async () => {
    const base = join(root, 'fixtures/llama-variants/attention-bias');
    for (const kind of ['plain', 'rank-stabilised']) {
      const checks = await verified(base, { adapter: join(root, 'fixtures/lora', kind) });
      expect(checks).toMatchObject([{ passed: true }]);
    }
  });

  it.runIf(hasSmollm2)('SmolLM2-135M is right in every precision', async () => {
    const checks = await verifiedEach(smollm2);
    expect(checks.map(({ passed }) => passed)).toEqual([true, true, true, true, true]);
    expect(checks[0].sameTokenIds).toBe(true);
  });

  it.runIf(hasGemma)('Gemma-3-270M is right past its window, in every precision', async () => {
    const checks = await verifiedEach(gemma);
    expect(checks.map(({ passed }) => passed)).toEqual([true, true, true, true, true]);
  });

  it('what is stored beside the small checkpoint is what Transformers computes now', async () => {
    const output = join(folder, 'expectations.safetensors');
    await writeExpectations({ checkpoint: tinyLlama, output, python: warm });
    expect(existsSync(output)).toBe(true);
    const checks = await verified(tinyLlama, { verify: { expectations: output } });
    expect(checks).toMatchObject([{ passed: true, failures: [] }]);
    const stored = join(tinyLlama, 'lacuna-expectations.safetensors');
    const before = await verified(tinyLlama, { verify: { expectations: stored } });
    expect(checks[0].all?.rows).toBe(before[0].all?.rows);
    expect(before[0].passed).toBe(true);
  });
});
