/** Models whose FFNs were trained to have zeros: sparse by themselves, with the logits of Transformers in every host. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { assemble, openModel } from '../converters/index.ts';
import { openCheckpoint } from '../formats/checkpoint.ts';
import type { Graph } from '../src/core/graph.ts';
import { value } from '../src/core/graph-builder.ts';
import { tapName } from '../src/core/model.ts';
import { PRECISION_NAMES, type PrecisionName } from '../src/core/precision.ts';
import { SILENT } from '../src/core/progress.ts';
import { float32Tensor, type TensorExpr } from '../src/core/tensor.ts';
import { convert } from '../src/index.ts';
import { variantOfNode } from '../src/ops/index.ts';
import { openMeasuredSession } from '../src/pipeline/engine/measured-session.ts';
import { fuseDecoderParts, fuseSkipNorms } from '../src/rewrite/index.ts';
import { openNativeSession, openSession } from '../src/runtime/index.ts';
import { logitError, RELATIVE, readExpected, relativeError } from './expected-logits.ts';
import { hasNative, library, runOracle } from './native/library.ts';
import { nativeLib } from './native-lib.ts';
import { openGraph } from './run-body.ts';
import { root, temporaryFolder } from './temporary.ts';
import { chosen, logitsOf, written } from './trained-models.ts';

const folder = temporaryFolder();
const addon = join(nativeLib, 'lacuna_node.node');
const variant = (name: string) => join(root, 'fixtures/llama-variants', name);
const expectedOf = (name: string) => join(variant(name), 'expected.safetensors');

/** LLaMA and Mistral with relu, ProSparse's FATReLU, and dReLU, with the operator's activation. */
const SPARSE = [
  ['relu', 'relu'],
  ['mistral-relu', 'relu'],
  ['prosparse', 'relu'],
  ['bamboo', 'drelu'],
] as const;

const NEURONS = 96;

async function dense(name: string, precision: PrecisionName = 'fp32'): Promise<Graph> {
  return fuseSkipNorms(assemble(openModel(await openCheckpoint(variant(name)), { precision })));
}

describe.each(SPARSE)('%s with its blocks as operators', (name, activation) => {
  it('chooses by the activation in every layer, and still has the logits of Transformers', async () => {
    const sparse = fuseDecoderParts(await dense(name));
    expect(chosen(sparse).map((node) => node.name)).toEqual(['layers.0.ffn.gated', 'layers.1.ffn.gated']);
    for (const node of chosen(sparse))
      expect(variantOfNode(node)).toMatchObject({
        activation,
        choice: { measure: 'activation', cut: 'absolute' },
      });
    const { ids, logits } = await readExpected(expectedOf(name));
    const model = await written(folder, sparse);
    for (const chunk of [ids.length, 5, 1])
      expect(relativeError(await logitsOf(await openSession(model), ids, chunk), logits)).toBeLessThan(RELATIVE);
  });

  it.runIf(existsSync(addon))('has them by our kernels', async () => {
    const { ids, logits } = await readExpected(expectedOf(name));
    const model = await written(folder, fuseDecoderParts(await dense(name)));
    const session = () => openNativeSession(model, { addon, operators: library });
    for (const chunk of [ids.length, 1])
      expect(relativeError(await logitsOf(await session(), ids, chunk), logits)).toBeLessThan(RELATIVE);
  });

  it.runIf(hasNative)('has them in Python’s ONNX Runtime, with the library and without', async () => {
    const model = await written(folder, fuseDecoderParts(await dense(name)));
    for (const feed of ['chunk', 'token']) {
      await runOracle('ort_compare.py', model, expectedOf(name), '--feed', feed);
      const output = await runOracle('ort_compare.py', model, expectedOf(name), '--feed', feed, '--library', library);
      expect(output).toMatch(/kernels: .*GatedFFN_2_\d x/);
    }
  });

  it('computes the neurons whose activation is not 0, and no others', async () => {
    const graph = await dense(name);
    const { ids } = await readExpected(expectedOf(name));
    const wanted = await nonZeros(graph, ids);
    const sparse = fuseDecoderParts(graph);
    const session = await openMeasuredSession(join(await written(folder, sparse), 'model.onnx'), sparse, {
      progress: SILENT,
    });
    onTestFinished(() => session.close());
    const { extras } = await session.step(ids, session.emptyCache(), { logits: 'all' });
    for (const [layer, counts] of wanted.entries()) {
      expect(Array.from(extras[`layers.${layer}.kept`].data, Number)).toEqual(counts);
      const share = counts.reduce((sum, count) => sum + count, 0) / (counts.length * NEURONS);
      // Gates are normally distributed about 0 with a deviation of 1.3: half are positive, and 42 % are above 0.25.
      const [least, most] = name === 'prosparse' ? [0.3, 0.48] : [0.42, 0.6];
      expect(share).toBeGreaterThan(least);
      expect(share).toBeLessThan(most);
    }
  });
});

/** For each layer and token, how many activations are not 0. */
async function nonZeros(graph: Graph, ids: readonly number[]): Promise<number[][]> {
  const taps = [0, 1].map((layer) => tapName(layer, 'act'));
  const outputs = taps.map((name) => value(name, 'float32', ['batch_size', 'sequence_length', NEURONS]));
  const runner = await openGraph({ ...graph, outputs });
  onTestFinished(() => runner.close());
  const dims = [1, ids.length];
  const empty = { dtype: 'float32', dims: [1, 2, 0, 12], data: new Float32Array(0) } as const;
  const caches = graph.inputs.filter((input) => input.name.startsWith('past_key_values.'));
  const found = await runner.run({
    input_ids: { dtype: 'int64', dims, data: BigInt64Array.from(ids, BigInt) },
    attention_mask: { dtype: 'int64', dims, data: new BigInt64Array(ids.length).fill(1n) },
    ...Object.fromEntries(caches.map((cache) => [cache.name, empty])),
  });
  return taps.map((name) => {
    const acts = Array.from(found[name].data, Number);
    return ids.map((_, token) => acts.slice(token * NEURONS, (token + 1) * NEURONS).filter((act) => act !== 0).length);
  });
}

describe('precisions', () => {
  /** Of the dense graph, as for any choice: its products in blocks round activations to 8 bits. */
  const LIMITS: Readonly<Record<PrecisionName, number>> = {
    fp32: 1e-5,
    bf16: 1e-5,
    fp16: 1e-2,
    int8: 0.08,
    int6: 0.16,
    int5: 0.3,
    int4: 0.6,
  };

  it.each(PRECISION_NAMES)(
    '%s: one operator a block, and nearly the logits of the graph without',
    async (precision) => {
      for (const name of ['relu', 'prosparse', 'bamboo']) {
        const graph = await dense(name, precision);
        const sparse = fuseDecoderParts(graph);
        expect(chosen(sparse)).toHaveLength(2);
        const { ids } = await readExpected(expectedOf(name));
        const whole = await logitsOf(await openSession(await written(folder, graph)), ids);
        const model = await written(folder, sparse);
        expect(relativeError(await logitsOf(await openSession(model), ids), whole)).toBeLessThan(LIMITS[precision]);
        if (!existsSync(addon)) continue;
        const native = await openNativeSession(model, { addon, operators: library });
        expect(relativeError(await logitsOf(native, ids), whole)).toBeLessThan(LIMITS[precision]);
      }
    },
  );
});

describe('thresholds of FATReLU', () => {
  const withParam = async (param: unknown) => {
    const checkpoint = await openCheckpoint(variant('prosparse'));
    const config = { ...checkpoint.config, hidden_act_param: param };
    return fuseSkipNorms(assemble(openModel({ ...checkpoint, config }, { precision: 'fp32' })));
  };
  const thresholds = (graph: Graph) =>
    fuseDecoderParts(graph)
      .initializers.filter(({ name }) => name.endsWith('.ffn.threshold'))
      .map(({ data }) => data);

  it.each([
    [0.25, 0.25],
    [0.01, 0.01],
    [2 ** -126, 2 ** -126],
    // Numbers below float32's least normal one may be 0 to a processor.
    [2 ** -149, 2 ** -126],
    [0, 2 ** -126],
    [-0, 2 ** -126],
  ])('%d leaves out what is below %d', async (param, threshold) => {
    const wanted = float32Tensor([threshold], []);
    expect(thresholds(await withParam(param))).toEqual([wanted, wanted]);
  });

  it('0 is relu', async () => {
    const operators = ({ nodes }: Graph) => nodes.map(({ opType }) => opType);
    expect(operators(await withParam(0))).toContain('Relu');
    expect(operators(await withParam(0))).not.toContain('ThresholdedRelu');
    expect(operators(await withParam(0.01))).toContain('ThresholdedRelu');
  });

  it.each([-0.01, null, undefined, 1e39])('%s is refused by name', async (param) => {
    await expect(withParam(param)).rejects.toThrow(
      /hidden_act_param = \S+: "fatrelu" wants a threshold there, from 0 on/,
    );
  });

  it('text is no threshold', async () => {
    await expect(withParam('0.01')).rejects.toThrow(expect.objectContaining({ code: 'bad-file' }));
  });
});

it.each(['relu', 'mistral-relu'])('%s may have a threshold too', async (name) => {
  const checkpoint = await openCheckpoint(variant(name));
  const config = { ...checkpoint.config, hidden_act: 'fatrelu', hidden_act_param: 0.25 };
  const pieces = openModel({ ...checkpoint, config }, { precision: 'fp32' });
  expect(pieces.spec.hiddenAct).toBe('fatrelu');
  const graph = fuseSkipNorms(assemble(pieces));
  const { ids, logits } = await readExpected(expectedOf(name));
  const [sparse, whole] = [fuseDecoderParts(graph), graph].map((one) =>
    written(folder, one).then((at) => openSession(at)),
  );
  const [some, all] = [await logitsOf(await sparse, ids), await logitsOf(await whole, ids)];
  expect(relativeError(some, all)).toBeLessThan(RELATIVE);
  expect(relativeError(some, logits)).toBeGreaterThan(100 * RELATIVE);
});

it.each([
  ['relu', 'shiftrelu', /hidden_act = "shiftrelu": not one of .*relu, fatrelu/],
  ['mistral-relu', 'drelu', /hidden_act = "drelu": not one of .*relu, fatrelu/],
  ['bamboo', 'fatrelu', /hidden_act = "fatrelu": not one of /],
])('%s with hidden_act %s is refused: what was found, and what there is', async (name, hidden_act, message) => {
  const checkpoint = await openCheckpoint(variant(name));
  const config = { ...checkpoint.config, hidden_act, hidden_act_param: 0.01 };
  expect(() => openModel({ ...checkpoint, config }, { precision: 'fp32' })).toThrow(message);
});

describe('dReLU', () => {
  it('does without the predictors of neurons, and says so', async () => {
    const checkpoint = await openCheckpoint(variant('bamboo'));
    const spare = { ...checkpoint.tensors.get('model.norm.weight') } as TensorExpr;
    const open = (name: string) =>
      openModel({ ...checkpoint, tensors: new Map([...checkpoint.tensors, [name, spare]]) }, { precision: 'fp32' });
    expect(open('model.layers.0.mlp.predictor.fc1.weight').notes).toEqual([expect.stringMatching(/^Predictors/)]);
    expect(openModel(checkpoint, { precision: 'fp32' }).notes ?? []).toEqual([]);
    expect(() => open('model.layers.0.mlp.other.weight')).toThrow(/used by nothing/);
  });
});

it.each([
  ['prosparse', 'llama', 'LlamaForCausalLM'],
  ['bamboo', 'mistral', 'MistralForCausalLM'],
])('a folder of %s is one of %s to hosts', async (name, modelType, className) => {
  const output = join(folder, name);
  await convert({ checkpoint: variant(name), output, progress: SILENT });
  const read = (file: string) => JSON.parse(readFileSync(join(output, file), 'utf8'));
  expect(read('config.json')).toMatchObject({ model_type: modelType, architectures: [className] });
  expect(read('config.json')).not.toHaveProperty('auto_map');
  expect(read('genai_config.json').model.type).toBe(modelType);
  expect(await logitError(output, expectedOf(name), expectedOf(name))).toBeLessThan(RELATIVE);
});
