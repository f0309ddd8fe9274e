/** Gram matrices of real graphs against sums over the values that the graphs give. */
import { describe, expect, test } from 'vitest';
import { openModel } from '../converters/index.ts';
import { openCheckpoint } from '../formats/checkpoint.ts';
import { encodeModel } from '../formats/onnx/index.ts';
import { value } from '../src/core/graph-builder.ts';
import { HEAD_TAP, HEAD_WEIGHT, hiddenName, type ModelPieces, tapName } from '../src/core/model.ts';
import type { RuntimeTensor } from '../src/core/runner.ts';
import { createOpenGraph } from '../src/runtime/index.ts';
import { type InputGram, inputGrams } from './index.ts';

const openGraph = createOpenGraph({ encode: encodeModel, threads: 1 });
const TOKENS = Array.from({ length: 40 }, (_, i) => (i * 7) % 50);
const LENGTH = 16;

async function measure(pieces: ModelPieces, known?: ReadonlySet<number>) {
  const input = { texts: [{ name: 'x', sha256: '', tokens: TOKENS }], sequenceLength: LENGTH };
  const { layers, texts } = inputGrams(pieces, input, { openGraph, known });
  const found = new Map<number, readonly InputGram[]>();
  for await (const { layer, inputs } of layers) found.set(layer, inputs);
  return { found, texts };
}

type Values = Readonly<Record<string, RuntimeTensor>>;

/** All that a piece makes of `feeds`, the values called `extra` as well. */
async function run(
  graph: ReturnType<ModelPieces['embed']>,
  feeds: Values,
  extra: readonly string[] = [],
): Promise<Values> {
  const outputs = extra.map((name) => value(name, 'float32', ['batch_size', 'sequence_length', `width of ${name}`]));
  const all = [...graph.outputs, ...outputs.filter(({ name }) => !graph.outputs.some((one) => one.name === name))];
  const runner = await openGraph({ ...graph, outputs: all });
  const wanted = Object.fromEntries(graph.inputs.map(({ name }) => [name, feeds[name]]));
  try {
    return await runner.run(wanted);
  } finally {
    await runner.close();
  }
}

/** [tokens][width] */
function rows({ dims, data }: RuntimeTensor): number[][] {
  const width = dims[dims.length - 1];
  return Array.from({ length: data.length / width }, (_, i) =>
    Array.from(data.subarray(i * width, (i + 1) * width) as Float32Array),
  );
}

function addGram(sum: number[][], x: readonly (readonly number[])[], factors: readonly number[]): void {
  for (const [t, row] of x.entries())
    for (const [i, a] of row.entries()) {
      sum[i] ??= new Array(row.length).fill(0);
      for (const [j, b] of row.entries()) sum[i][j] += factors[t] * a * b;
    }
}

const inverseMeanSquares = (y: readonly (readonly number[])[]) =>
  y.map((row) => 1 / (row.reduce((sum, value) => sum + value * value, 0) / row.length + 1e-6));

/** The four matrices of every layer, and the head's, by plain sums in float64. */
async function plainGrams(pieces: ModelPieces, postNorm: boolean): Promise<number[][][][]> {
  const { spec } = pieces;
  const grams = Array.from({ length: spec.numHiddenLayers + 1 }, () => [[], [], [], []] as number[][][]);
  for (let start = 0; start < TOKENS.length; start += LENGTH) {
    const tokens = TOKENS.slice(start, start + LENGTH);
    const dims = [1, tokens.length];
    let values: Values = {
      input_ids: { dtype: 'int64', dims, data: BigInt64Array.from(tokens, BigInt) },
      attention_mask: { dtype: 'int64', dims, data: new BigInt64Array(tokens.length).fill(1n) },
    };
    values = { ...values, ...(await run(pieces.embed(), values)) };
    const empty = {
      dtype: 'float32' as const,
      dims: [1, spec.numKeyValueHeads, 0, spec.headDim],
      data: new Float32Array(0),
    };
    for (let layer = 0; layer < spec.numHiddenLayers; layer++) {
      const tap = (name: Parameters<typeof tapName>[1]) => tapName(layer, name);
      const extra = ['attn_in', 'attended', 'ffn_in', 'act', 'up', 'ffn_residual'] as const;
      const outputs = postNorm ? ([...extra, 'projected', 'down'] as const) : extra;
      const caches = { [`past_key_values.${layer}.key`]: empty, [`past_key_values.${layer}.value`]: empty };
      values = { ...values, ...(await run(pieces.layer(layer), { ...values, ...caches }, outputs.map(tap))) };
      const at = (name: (typeof outputs)[number]) => rows(values[tap(name)]);
      const act = at('act');
      const product = at('up').map((row, t) => row.map((up, i) => Math.fround(up * act[t][i])));
      const next = rows(values[hiddenName(layer + 1)]);
      const [qkv, o, gateUp, down] = grams[layer];
      addGram(
        qkv,
        at('attn_in'),
        tokens.map((_, t) => (t === 0 ? 64 : 1)),
      );
      addGram(o, at('attended'), inverseMeanSquares(postNorm ? at('projected') : at('ffn_residual')));
      addGram(
        gateUp,
        at('ffn_in'),
        tokens.map(() => 1),
      );
      addGram(down, product, inverseMeanSquares(postNorm ? at('down') : next));
    }
    const { [HEAD_TAP]: normed } = await run(pieces.head(), values, [HEAD_TAP]);
    addGram(
      grams[spec.numHiddenLayers][0],
      rows(normed),
      tokens.map(() => 1),
    );
  }
  return grams;
}

/** Float32 sums over 40 tokens of products of values that two orders of float32 sums give: 40 * 2^-24, and some 2^-20. */
const TOLERANCE = 1e-5;

describe.each([
  ['llama-variants/gqa-tied-bf16', false],
  ['llama-variants/odd-sizes', false],
  ['gemma-variants/gemma2-softcap', true],
  ['gemma-variants/gemma3-pattern', true],
] as const)('Gram matrices of %s', (folder, postNorm) => {
  test('are the weighed sums of their inputs', async () => {
    const pieces = openModel(await openCheckpoint(`fixtures/${folder}`), { precision: 'fp32' });
    const { found, texts } = await measure(pieces);
    expect(texts).toEqual([{ name: 'x', sha256: '', tokens: TOKENS.length }]);
    const wanted = await plainGrams(pieces, postNorm);
    expect([...found.keys()]).toEqual([...wanted.keys()]);
    for (const [layer, inputs] of found) {
      const expected = wanted[layer].filter((gram) => gram.length > 0);
      expect(inputs.map(({ width }) => width)).toEqual(expected.map((gram) => gram.length));
      for (const [i, { gram, width }] of inputs.entries()) {
        const most = Math.max(...expected[i].map((row, j) => row[j]));
        const errors = gram.map((sum, j) => Math.abs(sum - expected[i][Math.floor(j / width)][j % width]));
        expect(Math.max(...errors)).toBeLessThan(TOLERANCE * most);
      }
    }
  });
});

test('names the weights that multiply each input, each once', async () => {
  const pieces = openModel(await openCheckpoint('fixtures/tiny-llama'), { precision: 'fp32' });
  const { found } = await measure(pieces);
  const matrices = new Map(
    [...found.values()].flat().flatMap(({ readers, width }) => readers.map((name) => [name, width])),
  );
  const { numHiddenLayers } = pieces.spec;
  expect(matrices.size).toBe(numHiddenLayers * 7 + 1);
  for (const [name, width] of matrices) if (name !== HEAD_WEIGHT) expect(pieces.weight(name).shape[1]).toBe(width);
});

test('passes layers that are known', async () => {
  const pieces = openModel(await openCheckpoint('fixtures/tiny-llama'), { precision: 'fp32' });
  const { numHiddenLayers } = pieces.spec;
  const all = await measure(pieces);
  const some = await measure(pieces, new Set([0, 1, 3]));
  expect([...some.found.keys()]).toEqual([2, ...Array.from({ length: numHiddenLayers - 3 }, (_, i) => i + 4)]);
  const bytes = (inputs: readonly InputGram[] = []) =>
    inputs.map(({ gram }) => Buffer.from(gram.buffer).toString('base64'));
  for (const [layer, inputs] of some.found)
    expect(bytes(inputs).join() === bytes(all.found.get(layer)).join()).toBe(true);
});
