/** Gemma 3n through the whole pipeline: sparse by training, walked layer by layer, planned for, and run by every host. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { calibrate, gramsOf, inputGrams, linearWeights, type Statistic } from '../calibrate/index.ts';
import { assemble, modelLayout, openModel } from '../converters/index.ts';
import { openCheckpoint } from '../formats/checkpoint.ts';
import type { Checkpoint } from '../src/core/checkpoint.ts';
import { type Graph, LACUNA_DOMAIN } from '../src/core/graph.ts';
import { value } from '../src/core/graph-builder.ts';
import { HEAD_TAP, type ModelSpec } from '../src/core/model.ts';
import type { Plan } from '../src/core/plan.ts';
import { PRECISION_NAMES, type PrecisionName } from '../src/core/precision.ts';
import { SILENT } from '../src/core/progress.ts';
import { convert } from '../src/index.ts';
import { applyPlan, fuseDecoderParts, fuseSkipNorms } from '../src/rewrite/index.ts';
import { openNativeSession, openSession } from '../src/runtime/index.ts';
import { readFloats } from '../src/tensors/index.ts';
import { logitError, RELATIVE, readExpected, relativeError } from './expected-logits.ts';
import { hasNative, library, runOracle } from './native/library.ts';
import { nativeLib } from './native-lib.ts';
import { openGraph } from './run-body.ts';
import { root, temporaryFolder } from './temporary.ts';
import { chosen, logitsOf, written } from './trained-models.ts';

const folder = temporaryFolder();
const addon = join(nativeLib, 'lacuna_node.node');
const variant = (name: string) => join(root, 'fixtures/gemma-variants', name);
const expectedOf = (name: string) => join(variant(name), 'expected.safetensors');
const SPARSE = 'gemma3n-sparse';

async function opened(name: string, precision: PrecisionName = 'fp32') {
  const checkpoint = await openCheckpoint(variant(name));
  const pieces = openModel(checkpoint, { precision });
  return { checkpoint, pieces, graph: fuseSkipNorms(assemble(pieces)) };
}

/** Layers whose neurons the model was trained to choose. */
function trainedLayers(checkpoint: Checkpoint): number[] {
  return modelLayout(checkpoint).layers.flatMap(({ gateQuantile }, i) => (gateQuantile === undefined ? [] : [i]));
}

describe.each(['gemma3n-sparse', 'gemma3n-uneven', 'gemma3n-multimodal'])('%s with its blocks as operators', (name) => {
  it('chooses in the layers that were trained to, and still has the logits of Transformers', async () => {
    const { checkpoint, graph } = await opened(name);
    const sparse = fuseDecoderParts(graph);
    const layers = trainedLayers(checkpoint);
    expect(layers.length).toBeGreaterThan(2);
    expect(chosen(sparse).map((node) => node.name)).toEqual(layers.map((layer) => `layers.${layer}.ffn.gated`));
    const { ids, logits } = await readExpected(expectedOf(name));
    const model = await written(folder, sparse);
    for (const chunk of [ids.length, 5, 1])
      expect(relativeError(await logitsOf(await openSession(model), ids, chunk), logits)).toBeLessThan(RELATIVE);
  });

  it.runIf(existsSync(addon))('has them by our kernels', async () => {
    const { graph } = await opened(name);
    const { ids, logits } = await readExpected(expectedOf(name));
    const model = await written(folder, fuseDecoderParts(graph));
    const session = () => openNativeSession(model, { addon, operators: library });
    for (const chunk of [ids.length, 1])
      expect(relativeError(await logitsOf(await session(), ids, chunk), logits)).toBeLessThan(RELATIVE);
  });

  it.runIf(hasNative)('has them in Python’s ONNX Runtime, with the library and without', async () => {
    const { graph } = await opened(name);
    const model = await written(folder, fuseDecoderParts(graph));
    for (const feed of ['chunk', 'token']) {
      await runOracle('ort_compare.py', model, expectedOf(name), '--feed', feed);
      const output = await runOracle('ort_compare.py', model, expectedOf(name), '--feed', feed, '--library', library);
      expect(output).toMatch(/kernels: .*GatedFFN_2_\d x/);
    }
  });
});

describe('precisions', () => {
  /** Of the dense graph: its products in blocks round activations to 8 bits, one way or another at a tie. */
  const LIMITS: Readonly<Record<string, number>> = { fp32: 1e-5, bf16: 1e-5, fp16: 1e-2 };

  it.each(PRECISION_NAMES)(
    '%s: one operator a trained block, and nearly the logits of the graph without',
    async (precision) => {
      const { checkpoint, graph } = await opened(SPARSE, precision);
      const sparse = fuseDecoderParts(graph);
      expect(chosen(sparse)).toHaveLength(trainedLayers(checkpoint).length);
      const { ids } = await readExpected(expectedOf(SPARSE));
      const whole = await logitsOf(await openSession(await written(folder, graph)), ids);
      const model = await written(folder, sparse);
      // `down` of a chosen row has the codes of its own blocks: another rounding to the same bits.
      const limit = LIMITS[precision] ?? ROUNDED[precision];
      expect(relativeError(await logitsOf(await openSession(model), ids), whole)).toBeLessThan(limit);
      if (!existsSync(addon)) return;
      const native = await openNativeSession(model, { addon, operators: library });
      expect(relativeError(await logitsOf(native, ids), whole)).toBeLessThan(limit);
    },
  );

  /** A fraction of what the precision itself may cost (converters/precisions.test.ts), as a share of the largest logit. */
  const ROUNDED: Readonly<Record<string, number>> = { int8: 0.08, int6: 0.16, int5: 0.3, int4: 0.6 };
});

describe('the walk', () => {
  const texts = (spec: ModelSpec) => [
    { name: 'a', sha256: 'a'.repeat(64), tokens: Array.from({ length: 40 }, (_, i) => (i * 7 + 3) % spec.vocabSize) },
  ];

  /** Hands on what the head reads. */
  function headTap(found: Float32Array[]): Statistic {
    const statistic = { name: 'head', definition: '', taps: [], empty: () => ({}), add: () => {}, merge: () => ({}) };
    return { ...statistic, addHead: (_, headIn) => void found.push(headIn), finish: () => ({}) };
  }

  it.each(['gemma3n-sparse', 'gemma3n-unshared'])('of %s hands on all that layers read', async (name) => {
    const { checkpoint, pieces, graph } = await opened(name);
    const { spec } = pieces;
    const found: Float32Array[] = [];
    const options = { openGraph, readFloats, fingerprint: checkpoint.fingerprint };
    const input = { texts: texts(spec), sequenceLength: 16 };
    await calibrate(pieces, input, { ...options, statistics: [headTap(found)] });
    // 40 = 16 + 16 + 8.
    expect(found.map(({ length }) => length / spec.hiddenSize)).toEqual([16, 16, 8]);
    const tap = value(HEAD_TAP, 'float32', ['batch_size', 'sequence_length', spec.hiddenSize]);
    const runner = await openGraph({ ...graph, outputs: [tap] });
    onTestFinished(() => runner.close());
    for (const [index, headIn] of found.entries()) {
      const ids = input.texts[0].tokens.slice(16 * index, 16 * index + 16);
      const outputs = await runner.run(feedsOf(graph, spec, ids));
      expect(relativeError(headIn, Float32Array.from(outputs[HEAD_TAP].data, Number))).toBeLessThan(RELATIVE);
    }
  });

  function feedsOf(graph: Graph, spec: ModelSpec, ids: readonly number[]) {
    const dims = [1, ids.length];
    const empty = {
      dtype: 'float32',
      dims: [1, spec.numKeyValueHeads, 0, spec.headDim],
      data: new Float32Array(0),
    } as const;
    const caches = graph.inputs.filter((input) => input.name.startsWith('past_key_values.'));
    return {
      input_ids: { dtype: 'int64', dims, data: BigInt64Array.from(ids, BigInt) },
      attention_mask: { dtype: 'int64', dims, data: new BigInt64Array(ids.length).fill(1n) },
      ...Object.fromEntries(caches.map((cache) => [cache.name, empty])),
    } as const;
  }

  it('measures the usual statistics, of weights that are there', async () => {
    const { checkpoint, pieces } = await opened(SPARSE);
    const options = { openGraph, readFloats, fingerprint: checkpoint.fingerprint };
    const statistics = await calibrate(pieces, { texts: texts(pieces.spec), sequenceLength: 16 }, options);
    expect(statistics.tokens).toBe(40);
    expect(statistics.model).toMatchObject({ modelType: 'gemma3n_text', cacheLayers: 2 });
    for (let layer = 0; layer < pieces.spec.numHiddenLayers; layer++)
      for (const weight of linearWeights(layer, statistics.model)) expect(() => pieces.weight(weight)).not.toThrow();
    expect(linearWeights(2, statistics.model)).not.toContain('model.layers.2.self_attn.k_proj.weight');
  });

  it('of FFNs of several sizes sums Gram matrices, each as wide as its FFN, and refuses sums of all layers', async () => {
    const { checkpoint, pieces } = await opened('gemma3n-uneven');
    const { spec } = pieces;
    const options = { openGraph, readFloats, fingerprint: checkpoint.fingerprint };
    const input = { texts: texts(spec), sequenceLength: 16 };
    const { layerSums } = await calibrate(pieces, input, { ...options, statistics: [inputGrams] });
    const widths = layerSums[inputGrams.name].slice(0, -1).map((sums, layer) => {
      const last = [...gramsOf(sums as never, layer, spec)].at(-1);
      return last?.width;
    });
    expect(widths).toEqual(spec.intermediateSizes);
    await expect(calibrate(pieces, input, options)).rejects.toThrow(
      expect.objectContaining({
        code: 'unsupported',
        message: expect.stringMatching(/FFNs have 48, 21, 64, 33 neurons/),
      }),
    );
  });
});

it('a plan skips its blocks, and those that run choose as they were trained to', async () => {
  const { checkpoint, pieces, graph } = await opened(SPARSE);
  const { modelType, numHiddenLayers, hiddenSize, intermediateSize } = pieces.spec;
  // No cosine reaches 2, so every block runs.
  const plan: Plan = {
    format: 'lacuna.plan',
    version: 2,
    preset: 'ffn-skip',
    host: { kind: 'native' },
    model: { modelType, fingerprint: checkpoint.fingerprint, numHiddenLayers, hiddenSize, intermediateSize },
    statistics: '',
    tensors: null,
    target: { kind: 'skipped-blocks', value: 0 },
    prefill: 'sparse',
    skipping: { warmUpTokens: 2, reArm: true },
    blocks: Array.from({ length: numHiddenLayers }, (_, layer) => ({
      block: `layers.${layer}.ffn`,
      skip: { threshold: 2, runLength: 1 },
      expected: { bytesPerToken: 0 },
      why: '',
    })),
  };
  const { graph: skipping, report } = applyPlan(graph, plan, new Map());
  expect(report.filter(({ applied }) => !applied)).toEqual([]);
  expect(skipping.nodes.filter(({ domain }) => domain === LACUNA_DOMAIN).length).toBeGreaterThan(numHiddenLayers);
  const { ids, logits } = await readExpected(expectedOf(SPARSE));
  const model = await written(folder, fuseDecoderParts(skipping));
  expect(relativeError(await logitsOf(await openSession(model), ids), logits)).toBeLessThan(RELATIVE);
});

describe('a folder', () => {
  it('has caches for the layers that own one, the text model’s config, and a note of what was left out', async () => {
    const output = join(folder, 'multimodal');
    const notes: string[] = [];
    const progress = { ...SILENT, note: (text: string) => void notes.push(text) };
    await convert({ checkpoint: variant('gemma3n-multimodal'), output, progress });
    const read = (name: string) => JSON.parse(readFileSync(join(output, name), 'utf8'));
    const config = read('config.json');
    expect(config).toMatchObject({ model_type: 'gemma3n_text', architectures: ['Gemma3nForCausalLM'] });
    expect(config).not.toHaveProperty('text_config');
    expect(read('genai_config.json').model.decoder.num_hidden_layers).toBe(2);
    expect(read('lacuna.json').spec).toMatchObject({ numHiddenLayers: 4, cacheLayers: 2 });
    expect(notes.join('\n')).toMatch(/Only the text model is converted: 3 tensors of the towers for images and sound/);
    expect(await logitError(output, expectedOf('gemma3n-multimodal'), expectedOf('gemma3n-multimodal'))).toBeLessThan(
      RELATIVE,
    );
  });

  it('is the same of a checkpoint with keys of layers that read those of others', async () => {
    const { checkpoint } = await opened(SPARSE);
    const spare = {
      kind: 'file',
      dtype: 'bfloat16',
      shape: [32, 32],
      path: '',
      byteOffset: 0,
      name: '',
      mustBeFinite: true,
    } as const;
    const open = (name: string) => () =>
      openModel({ ...checkpoint, tensors: new Map([...checkpoint.tensors, [name, spare]]) }, { precision: 'fp32' });
    for (const part of ['k_proj', 'v_proj', 'k_norm'])
      expect(open(`model.layers.3.self_attn.${part}.weight`)).not.toThrow();
    expect(open('model.layers.3.self_attn.x_proj.weight')).toThrow(/used by nothing/);
    expect(open('model.layers.9.self_attn.k_proj.weight')).toThrow(/used by nothing/);
  });

  it('reads no more of the second embedding than the rows of its tokens', async () => {
    const { graph } = await opened(SPARSE);
    const table = graph.initializers.find(({ name }) => name.includes('embed_tokens_per_layer'));
    const readers = graph.nodes.filter(({ inputs }) => inputs.includes(table?.name ?? ''));
    expect(readers.map(({ opType }) => opType)).toEqual(['Gather']);
  });
});

it('rejects logits that are another model’s', async () => {
  // What all of the above compares with moves when the cut is left out.
  const { checkpoint } = await opened(SPARSE);
  const config = { ...checkpoint.config, activation_sparsity_pattern: [0, 0, 0, 0] };
  const graph = fuseSkipNorms(assemble(openModel({ ...checkpoint, config }, { precision: 'fp32' })));
  const { ids, logits } = await readExpected(expectedOf(SPARSE));
  expect(relativeError(await logitsOf(await openSession(await written(folder, graph)), ids), logits)).toBeGreaterThan(
    100 * RELATIVE,
  );
});
