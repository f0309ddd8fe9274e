/** Converters against Transformers: the same logits, however the tokens are fed. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../formats/checkpoint.ts';
import { encodeModel } from '../formats/onnx/index.ts';
import type { Checkpoint } from '../src/core/checkpoint.ts';
import type { Graph } from '../src/core/graph.ts';
import type { ModelPieces, ModelSpec } from '../src/core/model.ts';
import type { Runner, RuntimeTensor } from '../src/core/runner.ts';
import { createOpenGraph } from '../src/runtime/open-graph.ts';
import { type Expected, RELATIVE, readExpected, relativeError } from '../test/expected-logits.ts';
import { FIXTURES, VARIANT_FOLDERS, VARIANTS } from '../test/variants.ts';
import { ARCHITECTURES, assemble, openModel } from './index.ts';

const openGraph = createOpenGraph({ encode: encodeModel, threads: 1 });

/** Its expected logits are of a prompt beyond its context, which is refused: see the test of its own below. */
const BEYOND_CONTEXT = 'rope-dynamic';

test.each(VARIANT_FOLDERS)('variants in %s are many', (folder) => {
  const there = VARIANTS.filter(({ path }) => path.startsWith(`${folder}/`));
  expect(there.length).toBeGreaterThanOrEqual(14);
});

test('names of variants are distinct', () => {
  expect(new Set(VARIANTS.map(({ name }) => name)).size).toBe(VARIANTS.length);
  expect(VARIANTS.map(({ name }) => name)).toContain(BEYOND_CONTEXT);
});

describe.each(ARCHITECTURES.map(({ modelType }) => modelType))('%s', (modelType) => {
  const own = VARIANTS.filter((variant) => variant.modelType === modelType);

  test('has variants, and one that shows a feature', () => {
    expect(own.filter(({ effect }) => effect !== undefined)).not.toHaveLength(0);
  });

  test('has logits that would show a converter that ignores what a variant turns on', () => {
    for (const { name, without, effect } of own) {
      expect(effect === undefined, name).toBe(without === undefined);
      expect(effect ?? 1, name).toBeGreaterThan(50 * RELATIVE);
    }
  });
});

describe.each(VARIANTS.filter(({ name }) => name !== BEYOND_CONTEXT))('$name: $exercises', ({ name }) => {
  test('logits of Transformers at prefill, in chunks of 5, and token by token', async () => {
    const { pieces, ids, logits } = await openVariant(name);
    const runner = await openGraph(assemble(pieces));
    for (const chunk of [ids.length, 5, 1]) {
      const error = relativeError(await feed(runner, pieces.spec, ids, chunk), logits);
      expect(error, `chunks of ${chunk}`).toBeLessThan(RELATIVE);
    }
    await runner.close();
  });

  test('embed, layers and head run one by one give the same logits', async () => {
    const { pieces, ids } = await openVariant(name);
    const whole = await openGraph(assemble(pieces));
    const expected = await feed(whole, pieces.spec, ids, ids.length);
    await whole.close();
    expect(relativeError(await runPieces(pieces, ids), expected)).toBeLessThan(RELATIVE);
  });
});

describe('dynamic positions', () => {
  test('within the context they are the default ones', async () => {
    const { checkpoint, pieces, ids } = await openVariant(BEYOND_CONTEXT);
    const unscaled = openModel(withConfig(checkpoint, { rope_scaling: null }), { precision: 'fp32' });
    const prompt = ids.slice(0, pieces.spec.contextLength);
    const logitsOf = async (model: ModelPieces) => {
      const runner = await openGraph(assemble(model));
      return feed(runner, model.spec, prompt, 5).finally(() => runner.close());
    };
    expect(await logitsOf(pieces)).toEqual(await logitsOf(unscaled));
  });

  test('beyond the context they are refused instead of wrong', async () => {
    const { pieces, ids } = await openVariant(BEYOND_CONTEXT);
    const runner = await openGraph(assemble(pieces));
    expect(ids.length).toBeGreaterThan(pieces.spec.contextLength);
    await expect(feed(runner, pieces.spec, ids, ids.length)).rejects.toThrow(/cos_cache/);
    await runner.close();
  });
});

describe('batches', () => {
  test.each([
    'gqa-tied-bf16',
    'odd-sizes',
    'mistral-window',
    'gemma2-softcap',
    'gemma3-rope-scaling',
    'gemma3n-sparse',
  ])('%s: a right-padded row gives its own logits', async (name) => {
    const { pieces, ids } = await openVariant(name);
    const { spec } = pieces;
    const runner = await openGraph(assemble(pieces));
    const alone = await feed(runner, spec, ids.slice(0, 10), 1);
    // Row 0: nine tokens of padding-free text; row 1: the text's first seven, then padding.
    const [long, short] = [ids.slice(3, 12), ids.slice(0, 7)];
    const padded = [...long, ...short, 5, 5];
    const mask = [...Array(9).fill(1), ...Array(7).fill(1), 0, 0];
    const first = await runner.run(feeds(spec, padded, mask, [2, 9], emptyCache(spec, 2)));
    const row = floats(first.logits).slice(9 * spec.vocabSize, 16 * spec.vocabSize);
    expect(relativeError(row, alone.slice(0, row.length))).toBeLessThan(RELATIVE);
    // Decoding continues where the row's text ended.
    const nextMask = [...Array(10).fill(1), ...Array(7).fill(1), 0, 0, 1];
    const next = await runner.run(feeds(spec, [ids[12], ids[7]], nextMask, [2, 1], cacheOf(first)));
    const decoded = floats(next.logits).slice(spec.vocabSize);
    expect(relativeError(decoded, alone.slice(7 * spec.vocabSize, 8 * spec.vocabSize))).toBeLessThan(RELATIVE);
    await runner.close();
  });
});

describe('openModel', () => {
  test('lists architectures by distinct names', () => {
    const names = ARCHITECTURES.map(({ modelType, className }) => [modelType, className]);
    for (const column of [0, 1]) expect(new Set(names.map((name) => name[column])).size).toBe(names.length);
    const known = [
      ['llama', 'LlamaForCausalLM'],
      ['mistral', 'MistralForCausalLM'],
      ['gemma', 'GemmaForCausalLM'],
      ['gemma2', 'Gemma2ForCausalLM'],
      ['gemma3_text', 'Gemma3ForCausalLM'],
      ['gemma3', 'Gemma3ForConditionalGeneration'],
      ['gemma3n_text', 'Gemma3nForCausalLM'],
      ['gemma3n', 'Gemma3nForConditionalGeneration'],
    ];
    expect(names).toEqual(expect.arrayContaining(known));
  });

  test.each([
    ['llama4', 'llama'],
    ['ministral', 'mistral'],
    ['gemma3n_txt', 'gemma3n_text'],
  ])('refuses %s and names the nearest: %s', async (modelType, like) => {
    const { checkpoint } = await openVariant('gqa-tied-bf16');
    const open = () => openModel(withConfig(checkpoint, { model_type: modelType }), { precision: 'fp32' });
    expect(open).toThrow(
      expect.objectContaining({
        code: 'unsupported',
        message: expect.stringContaining(`"${modelType}"`),
        hint: expect.stringContaining('llama, mistral'),
      }),
    );
    expect(open).toThrow(`the nearest that is: "${like}"`);
  });

  test('refuses a config without a model type, and another class of a known type', async () => {
    const { checkpoint } = await openVariant('gqa-tied-bf16');
    const open = (config: object) => () => openModel(withConfig(checkpoint, config), { precision: 'fp32' });
    expect(open({ model_type: undefined })).toThrow(expect.objectContaining({ code: 'bad-file' }));
    expect(open({ architectures: ['LlamaForSequenceClassification'] })).toThrow(
      expect.objectContaining({
        code: 'unsupported',
        message: expect.stringContaining('LlamaForSequenceClassification'),
      }),
    );
  });
});

interface OpenedVariant extends Expected {
  readonly checkpoint: Checkpoint;
  readonly pieces: ModelPieces;
}

async function openVariant(name: string): Promise<OpenedVariant> {
  const path = join(FIXTURES, VARIANTS.find((variant) => variant.name === name)?.path ?? name);
  const checkpoint = await openCheckpoint(path);
  const expected = await readExpected(join(path, 'expected.safetensors'));
  return { checkpoint, pieces: openModel(checkpoint, { precision: 'fp32' }), ...expected };
}

function withConfig(checkpoint: Checkpoint, changes: object): Checkpoint {
  return { ...checkpoint, config: { ...checkpoint.config, ...changes } };
}

type Feeds = Record<string, RuntimeTensor>;

/** Logits of `ids`, fed `chunk` at a time, each call with the cache of the one before. */
async function feed(runner: Runner, spec: ModelSpec, ids: readonly number[], chunk: number): Promise<Float32Array> {
  const logits: number[] = [];
  let cache = emptyCache(spec, 1);
  for (let start = 0; start < ids.length; start += chunk) {
    const part = ids.slice(start, start + chunk);
    const mask = Array(start + part.length).fill(1);
    const outputs = await runner.run(feeds(spec, part, mask, [1, part.length], cache));
    logits.push(...floats(outputs.logits));
    cache = cacheOf(outputs);
  }
  return Float32Array.from(logits);
}

/** Logits of `ids` by one graph for each piece. Values are handed on by name. */
async function runPieces(pieces: ModelPieces, ids: readonly number[]): Promise<Float32Array> {
  const layers = Array.from({ length: pieces.spec.numHiddenLayers }, (_, index) => pieces.layer(index));
  const mask = Array(ids.length).fill(1);
  let values: Feeds = feeds(pieces.spec, ids, mask, [1, ids.length], emptyCache(pieces.spec, 1));
  for (const graph of [pieces.embed(), ...layers, pieces.head()])
    values = { ...values, ...(await runOnce(graph, values)) };
  return floats(values.logits);
}

async function runOnce(graph: Graph, values: Feeds): Promise<Feeds> {
  const runner = await openGraph(graph);
  const inputs = Object.fromEntries(graph.inputs.map(({ name }) => [name, values[name]]));
  return runner.run(inputs).finally(() => runner.close());
}

function feeds(spec: ModelSpec, ids: readonly number[], mask: readonly number[], dims: number[], cache: Feeds): Feeds {
  const int64 = (values: readonly number[], shape: readonly number[]): RuntimeTensor => ({
    dtype: 'int64',
    dims: shape,
    data: BigInt64Array.from(values, BigInt),
  });
  expect(Object.keys(cache)).toHaveLength(2 * ownersOf(spec));
  return { input_ids: int64(ids, dims), attention_mask: int64(mask, [dims[0], mask.length / dims[0]]), ...cache };
}

function emptyCache(spec: ModelSpec, batch: number): Feeds {
  const empty: RuntimeTensor = {
    dtype: 'float32',
    dims: [batch, spec.numKeyValueHeads, 0, spec.headDim],
    data: new Float32Array(0),
  };
  const layers = Array.from({ length: ownersOf(spec) }, (_, index) => index);
  return Object.fromEntries(
    layers.flatMap((index) => ['key', 'value'].map((part) => [`past_key_values.${index}.${part}`, empty])),
  );
}

/** Layers with a cache. */
function ownersOf({ cacheLayers, numHiddenLayers }: ModelSpec): number {
  return cacheLayers ?? numHiddenLayers;
}

function cacheOf(outputs: Feeds): Feeds {
  const presents = Object.entries(outputs).filter(([name]) => name.startsWith('present.'));
  return Object.fromEntries(presents.map(([name, tensor]) => [name.replace('present', 'past_key_values'), tensor]));
}

function floats(tensor: RuntimeTensor): Float32Array {
  if (!(tensor.data instanceof Float32Array)) throw new Error(`${tensor.dtype} where float32 was expected`);
  return tensor.data;
}
