import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lacuna, root, temporaryFolder } from '../../test/temporary.ts';

const folder = temporaryFolder();
const inspected = async (path: string) => (await lacuna(['inspect', join(root, 'fixtures', path)])).stdout;

describe('inspect tells', () => {
  it('a plan that leaves nothing out', async () => {
    const path = join(folder, 'plan.json');
    const plan = {
      format: 'lacuna.plan',
      version: 1,
      preset: 'top-k',
      model: { modelType: 'llama', fingerprint: 'f', numHiddenLayers: 1, hiddenSize: 2, intermediateSize: 3 },
      statistics: 's',
      tensors: null,
      target: { kind: 'density', value: 1 },
      prefill: 'sparse',
      skipping: null,
      blocks: [],
    };
    writeFileSync(path, JSON.stringify(plan));
    const { code, stdout } = await lacuna(['inspect', path, '--explain']);
    expect(code).toBe(0);
    expect(stdout).toContain('dense: layer 0');
  });

  it('how layers attend and turn positions, and where the weights are', async () => {
    const text = await inspected('gemma-variants/gemma3-yarn');
    expect(text).toContain('layer 0: attention to all tokens, rotary base 50, yarn by 4 from 16\n');
    expect(text).toContain('layer 1: attention to the last 8 tokens, rotary base 50, linear by 3\n');
    expect(text).toContain('tokenizer: none, chat template: none\n');
    // 96 x 48 bf16, shared by the head; 2 layers of 3 x 24 x 48.
    expect(text).toMatch(/head: the embedding\n[\s\S]*embedding +4,608 +9\.2 kB\n[\s\S]*FFN +6,912 +13\.8 kB/);
    expect(text).not.toMatch(/^head /m);
  });

  it.each([
    ['llama-variants/rope-llama3', /all layers: attention to all tokens, rotary base \d+, llama3 by \d+ from \d+/],
    ['llama-variants/rope-dynamic', /dynamic\s+beyond\s+the\s+context/],
    ['llama-variants/mistral-window', /all layers: attention to the last \d+ tokens/],
    ['llama-variants/mha-untied-fp32', /head: weights of its own[\s\S]*^head +[\d,]+ +[\d.]+ kB/m],
  ])('it of %s', async (path, wanted) => {
    expect(await inspected(path)).toMatch(wanted);
  });

  it('what a GGUF file stores and brings along', async () => {
    const text = await inspected('gguf/attention-bias.gguf');
    expect(text).toMatch(/^tokenizer: yes, chat template: none$/m);
    expect(text).toMatch(/^\d+ tensors: (float|bfloat|Q)/m);
  });

  it('what an adapter changes', async () => {
    const text = await inspected('lora/rank-stabilised');
    expect(text).toMatch(/^LoRA adapter: rank 4, alpha 6, rank-stabilised\n/);
    expect(text).toMatch(/changes 2 down_proj, .*2 o_proj\n20 tensors, 3,464 parameters: float32 13\.9 kB\nmerged by/);
  });

  it('all that is wrong with a checkpoint', async () => {
    const text = await inspected('hostile/checkpoints/missing-shards');
    expect(text).toMatch(/^cannot be converted:\n {2}\S+\s+and the files beside it do not agree:\n {4}.* is missing/);
  });

  it('by its exit code and in JSON that something is wrong, and what', async () => {
    const path = join(root, 'fixtures/hostile/checkpoints/missing-shards');
    const adapter = join(folder, 'adapter');
    cpSync(join(root, 'fixtures/lora/plain'), adapter, { recursive: true });
    const config = join(adapter, 'adapter_config.json');
    writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, 'utf8')), peft_type: 'IA3' }));
    for (const [wrong, reason] of [
      [path, /is missing/],
      [adapter, /IA3/],
    ] as const) {
      const { code, stdout } = await lacuna(['inspect', wrong, '--json']);
      expect(code).toBe(1);
      expect(JSON.parse(stdout).problems).toContainEqual(expect.stringMatching(reason));
      expect(await lacuna(['inspect', wrong])).toMatchObject({ code: 1, stdout: expect.stringMatching(reason) });
    }
  });
});
