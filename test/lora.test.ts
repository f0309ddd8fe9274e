/** A checkpoint converted with --adapter computes what PEFT computes with the adapter beside the model. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { logitError, RELATIVE } from './expected-logits.ts';
import { lacuna, root, temporaryFolder } from './temporary.ts';

const folder = temporaryFolder();
const fixtures = join(root, 'fixtures');
const base = join(fixtures, 'llama-variants/attention-bias');
const effects = JSON.parse(readFileSync(join(fixtures, 'lora/effects.json'), 'utf8'));

test.each([
  ['plain', base],
  ['rank-stabilised', base],
  ['plain', join(fixtures, 'gguf/attention-bias.gguf')],
])('the adapter "%s" on %s', async (name, source) => {
  const adapter = join(fixtures, 'lora', name);
  const output = join(folder, `${name}-${source.endsWith('gguf')}`);
  const run = await lacuna(['convert', source, '--adapter', adapter, '-o', output, '--quiet']);
  expect(run).toMatchObject({ code: 0, stderr: '' });
  const error = await logitError(output, join(base, 'expected.safetensors'), join(adapter, 'expected.safetensors'));
  expect(error).toBeLessThan(RELATIVE);
  expect(effects[name]).toBeGreaterThan(1000 * RELATIVE);
});

test('a converted folder takes no adapter, and an adapter is no checkpoint', async () => {
  const dense = join(folder, 'plain-false');
  const adapter = join(fixtures, 'lora/plain');
  const plan = join(fixtures, 'none.json');
  const onFolder = await lacuna(['sparsify', dense, '--adapter', adapter, '--plan', plan, '-o', join(folder, 'x')]);
  expect(onFolder).toMatchObject({ code: 2 });
  const alone = await lacuna(['convert', adapter, '-o', join(folder, 'x')]);
  expect(alone).toMatchObject({ code: 2, stderr: expect.stringContaining('--adapter') });
});
