/** Gemma through the whole pipeline: its blocks are found and made sparse, its folders say what they are. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { assemble, openModel } from '../converters/index.ts';
import { openCheckpoint } from '../formats/checkpoint.ts';
import { writeOnnx } from '../formats/onnx/index.ts';
import type { Graph } from '../src/core/graph.ts';
import type { ModelSpec } from '../src/core/model.ts';
import type { Plan } from '../src/core/plan.ts';
import { SILENT } from '../src/core/progress.ts';
import { convert } from '../src/index.ts';
import { applyPlan, fuseSkipNorms } from '../src/rewrite/index.ts';
import { openNativeSession } from '../src/runtime/index.ts';
import { RELATIVE, readExpected, relativeError } from './expected-logits.ts';
import { byActivation } from './ffn-plan.ts';
import { library } from './native/library.ts';
import { nativeLib } from './native-lib.ts';
import { openGraph } from './run-body.ts';
import { root, temporaryFolder } from './temporary.ts';

const folder = temporaryFolder();
const addon = join(nativeLib, 'lacuna_node.node');
const variant = (name: string) => join(root, 'fixtures/gemma-variants', name);

async function opened(name: string) {
  const { spec, ...pieces } = openModel(await openCheckpoint(variant(name)), { precision: 'fp32' });
  const { ids, logits } = await readExpected(join(variant(name), 'expected.safetensors'));
  return { spec, graph: fuseSkipNorms(assemble({ spec, ...pieces })), ids: BigInt64Array.from(ids, BigInt), logits };
}

async function logitsOf(graph: Graph, spec: ModelSpec, ids: BigInt64Array): Promise<Float32Array> {
  const runner = await openGraph(graph);
  onTestFinished(() => runner.close());
  const dims = [1, ids.length];
  const cacheDims = [1, spec.numKeyValueHeads, 0, spec.headDim];
  const caches = graph.inputs.filter(({ name }) => name.startsWith('past_key_values.'));
  const empty = { dtype: 'float32', dims: cacheDims, data: new Float32Array(0) } as const;
  const feeds = {
    input_ids: { dtype: 'int64', dims, data: ids },
    attention_mask: { dtype: 'int64', dims, data: new BigInt64Array(ids.length).fill(1n) },
    ...Object.fromEntries(caches.map(({ name }) => [name, empty])),
  } as const;
  return Float32Array.from((await runner.run(feeds, ['logits'])).logits.data, Number);
}

/** Every block goes through the operators: the first selects with a threshold of `threshold`, the others may skip too. */
function planOf({ modelType, numHiddenLayers, hiddenSize, intermediateSize }: ModelSpec, threshold: number): Plan {
  const choice = byActivation(threshold, 'absolute', 'ones');
  // No cosine reaches 2.
  const skip = { threshold: 2, runLength: 1 };
  return {
    format: 'lacuna.plan',
    version: 2,
    preset: 'top-k',
    host: { kind: 'native' },
    model: { modelType, fingerprint: '', numHiddenLayers, hiddenSize, intermediateSize },
    statistics: '',
    tensors: null,
    target: { kind: 'density', value: 1 },
    prefill: 'sparse',
    skipping: { warmUpTokens: 2, reArm: true },
    blocks: Array.from({ length: numHiddenLayers }, (_, layer) => ({
      block: `layers.${layer}.ffn`,
      ...(layer === 0 ? { choice } : { choice, skip }),
      expected: { bytesPerToken: 0 },
      why: '',
    })),
  };
}

describe.each(['gemma-legacy-gelu', 'gemma2-softcap', 'gemma3-rope-scaling'])('%s', (name) => {
  it('has every residual addition fused with the norm after it, and still the logits of Transformers', async () => {
    const { spec, graph, ids, logits } = await opened(name);
    const fused = graph.nodes.filter(({ opType }) => opType === 'SkipSimplifiedLayerNormalization');
    expect(fused).toHaveLength(2 * spec.numHiddenLayers);
    expect(relativeError(await logitsOf(graph, spec, ids), logits)).toBeLessThan(RELATIVE);
  });

  it('takes a plan in every block: one that leaves out nothing changes nothing, one that does shows', async () => {
    const { spec, graph, ids, logits } = await opened(name);
    const ones = { shape: [spec.intermediateSize], data: new Float32Array(spec.intermediateSize).fill(1) };
    const errorAt = async (threshold: number) => {
      const sparse = applyPlan(graph, planOf(spec, threshold), new Map([['ones', ones]]));
      expect(sparse.report.map(({ block, applied }) => [block, applied])).toEqual(
        expect.arrayContaining(Array.from({ length: spec.numHiddenLayers }, (_, i) => [`layers.${i}.ffn`, true])),
      );
      return relativeError(await logitsOf(sparse.graph, spec, ids), logits);
    };
    expect(await errorAt(0)).toBeLessThan(RELATIVE);
    expect(await errorAt(0.5)).toBeGreaterThan(100 * RELATIVE);
  });

  it.runIf(existsSync(addon))('gives the same logits by our kernels', async () => {
    const { spec, graph, ids } = await opened(name);
    const ones = { shape: [spec.intermediateSize], data: new Float32Array(spec.intermediateSize).fill(1) };
    const sparse = applyPlan(graph, planOf(spec, 0.5), new Map([['ones', ones]])).graph;
    const model = join(folder, name);
    mkdirSync(model);
    await writeOnnx(sparse, join(model, 'model.onnx'));
    const session = await openNativeSession(model, { addon, operators: library });
    onTestFinished(() => session.close());
    const { logits } = await session.step(Array.from(ids, Number), session.emptyCache(), { logits: 'all' });
    expect(relativeError(Float32Array.from(logits), await logitsOf(sparse, spec, ids))).toBeLessThan(RELATIVE);
  });
});

it('the folder of a Gemma 3 with a vision tower is that of its text model, and says what was left out', async () => {
  const output = join(folder, 'text');
  const notes: string[] = [];
  const progress = { ...SILENT, note: (text: string) => void notes.push(text) };
  await convert({ checkpoint: variant('gemma3-multimodal'), output, progress });
  const read = (name: string) => JSON.parse(readFileSync(join(output, name), 'utf8'));
  const config = read('config.json');
  expect(config).toMatchObject({
    model_type: 'gemma3_text',
    architectures: ['Gemma3ForCausalLM'],
    num_hidden_layers: 3,
  });
  expect(config).not.toHaveProperty('vision_config');
  expect(read('genai_config.json').model).toMatchObject({ type: 'gemma3_text', eos_token_id: [1, 90] });
  expect(notes.join('\n')).toMatch(/Only the text model is converted: \d+ tensors of the vision tower/);
});
