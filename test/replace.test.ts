/** Blocks replaced by maps of low rank, from statistics to figures, as a user meets it. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { lacuna, temporaryFolder, texts, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const LESS = ['--threads', '1', '--quiet'];

async function run(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await lacuna([...args, ...LESS]);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return stdout;
}

/** Of a model as small as the fixture's a map of rank 32 takes 11 % of a block. */
const REPLACE = ['--preset', 'replace', '--skip', '0.25', '--bytes', '0.12'];

beforeAll(async () => {
  const fit = ['--data', join(texts, 'fit.txt'), '--tokens', '3072', '--with', 'ffn-moments', 'ffn-effect'];
  await run('calibrate', tinyLlama, '-o', at('statistics.json'), ...fit);
  await run('plan', at('statistics.json'), '-o', at('gated.json'), ...REPLACE);
  await run('plan', at('statistics.json'), '-o', at('whole.json'), ...REPLACE, '--no-gate');
  await run('convert', tinyLlama, '-o', at('dense'));
}, 240_000);

const weightsOf = (name: string) => statSync(join(at(name), 'onnx/model.onnx_data')).size;

describe('a model with replaced blocks', { timeout: 240_000 }, () => {
  it('is planned with what each block is left', async () => {
    const shown = await run('inspect', at('gated.json'));
    expect(shown).toContain('preset replace: 25.0 % of FFN blocks left out, 1 warm-up token');
    expect(shown).toMatch(/rank \d+ or block/);
    const { blocks } = JSON.parse(readFileSync(at('whole.json'), 'utf8'));
    // A quarter of 12 layers.
    expect(blocks).toHaveLength(3);
  });

  it('skips about what was asked for of another text, and loses less than it would with nothing in their place', async () => {
    await run('sparsify', at('dense'), '--plan', at('gated.json'), '-o', at('gated'));
    const { blocks } = JSON.parse(readFileSync(at('gated.json'), 'utf8'));
    const evaluated = ['--against', at('dense'), '--tokens', '2048', '--mode', 'all', '--json'];
    const figures = JSON.parse(await run('eval', at('gated'), ...evaluated)).modes[0];
    expect(Math.abs(figures.realised.skippedShare - 0.25)).toBeLessThan(0.03);
    for (const { layer, skippedShare } of figures.realised.layers)
      if (!blocks.some(({ block }: { block: string }) => block === `layers.${layer}.ffn`)) expect(skippedShare).toBe(0);
    await run('plan', at('statistics.json'), '-o', at('skip.json'), '--preset', 'ffn-skip', '--skip', '0.25');
    await run('sparsify', at('dense'), '--plan', at('skip.json'), '-o', at('skipped'));
    const skipped = JSON.parse(await run('eval', at('skipped'), ...evaluated)).modes[0];
    expect(figures.perplexityRatio.value).toBeLessThan(1 + (skipped.perplexityRatio.value - 1) / 2);
  });

  it('without a gate has fewer weights than the dense one, by those of its blocks less their maps', async () => {
    await run('sparsify', at('dense'), '--plan', at('whole.json'), '-o', at('whole'));
    const { blocks, model } = JSON.parse(readFileSync(at('whole.json'), 'utf8'));
    const wanted = blocks.reduce(
      (sum: number, { expected }: { expected: { bytesPerToken: number } }) =>
        sum + 12 * model.hiddenSize * model.intermediateSize - expected.bytesPerToken,
      0,
    );
    // Tensors begin at multiples of some bytes.
    expect(Math.abs(weightsOf('dense') - weightsOf('whole') - wanted)).toBeLessThan(0.01 * wanted);
  });

  it.each(['int8', 'int4', 'fp16', 'bf16'])('stores maps in %s as blocks are', async (dtype) => {
    for (const plan of ['gated', 'whole']) {
      const output = at(`${plan}-${dtype}`);
      await run('sparsify', tinyLlama, '--plan', at(`${plan}.json`), '-o', output, '--dtype', dtype);
      const scored = ['--against', at('dense'), '--tokens', '1024', '--mode', 'all', '--json'];
      const { perplexityRatio, realised } = JSON.parse(await run('eval', output, ...scored)).modes[0];
      // Without the map, or with another's, the model of random text would be far off.
      expect(perplexityRatio.value).toBeLessThan(dtype === 'int4' ? 1.3 : 1.1);
      expect(realised.skippedShare).toBeGreaterThan(0.2);
    }
  });
});
