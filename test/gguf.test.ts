/** A GGUF file goes in wherever a checkpoint does. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { logitError, RELATIVE } from './expected-logits.ts';
import { lacuna, root, temporaryFolder } from './temporary.ts';

const folder = temporaryFolder();
const fixtures = join(root, 'fixtures');
const gguf = join(fixtures, 'gguf/attention-bias.gguf');

describe('a GGUF file', () => {
  const dense = join(folder, 'dense');

  test('converts to a model with the logits of Transformers', async () => {
    expect(await lacuna(['convert', gguf, '-o', dense, '--quiet'])).toMatchObject({ code: 0 });
    const expected = join(fixtures, 'llama-variants/attention-bias/expected.safetensors');
    expect(await logitError(dense, expected, expected)).toBeLessThan(RELATIVE);
  });

  test('brings its tokenizer along', async () => {
    const run = await lacuna(['run', dense, 'abc', '--max-tokens', '4', '--json', '--quiet']);
    expect(run).toMatchObject({ code: 0 });
    expect(JSON.parse(run.stdout).promptTokens).toEqual([68, 69, 70]);
    const config = JSON.parse(readFileSync(join(dense, 'tokenizer_config.json'), 'utf8'));
    expect(config).toMatchObject({ bos_token: '<|begin|>', eos_token: '<|end|>' });
  });

  test('is calibrated and sparsified like any other', async () => {
    const [text, statistics, plan] = ['text.txt', 's.json', 'p.json'].map((name) => join(folder, name));
    writeFileSync(text, 'The quick brown fox jumps over the lazy dog. '.repeat(30));
    for (const args of [
      ['calibrate', gguf, '--data', text, '-o', statistics, '--tokens', '1100', '--sequence-length', '32', '--quiet'],
      ['plan', statistics, '-o', plan, '--preset', 'top-k', '--keep', '50%'],
      ['sparsify', gguf, '--plan', plan, '-o', join(folder, 'sparse'), '--quiet'],
    ])
      expect(await lacuna(args)).toMatchObject({ code: 0, stderr: '' });
    expect(existsSync(join(folder, 'sparse/tokenizer.json'))).toBe(true);
  });

  test('is shown with its own types', async () => {
    const { stdout } = await lacuna(['inspect', gguf, '--json']);
    const { checkpoint } = JSON.parse(stdout);
    expect(checkpoint).toMatchObject({ hasTokenizer: true, spec: { numHiddenLayers: 2, hiddenSize: 64 } });
    expect(Object.keys(checkpoint.bytesByDtype).sort()).toEqual(['bfloat16', 'float32']);
  });
});
