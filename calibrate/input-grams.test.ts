/** Gram matrices of real graphs, compared with sums over the values that the graphs give. */
import { describe, expect, test } from 'vitest';
import { openModel } from '../converters/index.ts';
import { openCheckpoint } from '../formats/checkpoint.ts';
import { encodeModel } from '../formats/onnx/index.ts';
import { value } from '../src/core/graph-builder.ts';
import { HEAD_TAP, HEAD_WEIGHT, hiddenName, type ModelPieces, tapName } from '../src/core/model.ts';
import type { RuntimeTensor } from '../src/core/runner.ts';
import type { Sums } from '../src/core/statistics.ts';
import { createOpenGraph } from '../src/runtime/index.ts';
import { readFloats } from '../src/tensors/index.ts';
import { calibrate, gramsOf, type InputGram, inputGrams } from './index.ts';

const openGraph = createOpenGraph({ encode: encodeModel, threads: 1 });
const TOKENS = Array.from({ length: 40 }, (_, i) => (i * 7) % 50);
const LENGTH = 16;

async function measure(pieces: ModelPieces): Promise<Map<number, readonly InputGram[]>> {
  const input = { texts: [{ name: 'x', sha256: '', tokens: TOKENS }], sequenceLength: LENGTH };
  const found = new Map<number, readonly InputGram[]>();
  const keep = async (sums: Sums, layer: number) => {
    found.set(layer, [...gramsOf(sums, layer, pieces.spec)]);
    return undefined;
  };
  const statistics = [inputGrams];
  await calibrate(pieces, input, { openGraph, readFloats, fingerprint: '', statistics, keeper: { keep } });
  return found;
}

type Values = Readonly<Record<string, RuntimeTensor>>;

/** All outputs of a piece for `feeds`, and the values called `extra`. */
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

/**
 * Float32 sums over a sequence, of products of values from two orders of float32 sums: 16 * 2^-24, and some 2^-20. The
 * grid of 2^-24 is far below: the largest square here is 0.1 and more.
 */
const TOLERANCE = 1e-5;

describe.each([
  ['llama-variants/gqa-tied-bf16', false],
  ['llama-variants/odd-sizes', false],
  ['gemma-variants/gemma2-softcap', true],
  ['gemma-variants/gemma3-pattern', true],
] as const)('Gram matrices of %s', (folder, postNorm) => {
  test('are the weighed sums of their inputs', async () => {
    const pieces = openModel(await openCheckpoint(`fixtures/${folder}`), { precision: 'fp32' });
    const found = await measure(pieces);
    const wanted = await plainGrams(pieces, postNorm);
    expect([...found.keys()]).toEqual([...wanted.keys()]);
    for (const [layer, inputs] of found) {
      const expected = wanted[layer].filter((gram) => gram.length > 0);
      expect(inputs.map(({ width }) => width)).toEqual(expected.map((gram) => gram.length));
      for (const [i, { gram, width }] of inputs.entries()) {
        const most = Math.max(...expected[i].map((row, j) => row[j]));
        const errors = gram.map((sum, j) => Math.abs(sum - expected[i][Math.floor(j / width)][j % width]));
        expect(Math.max(...errors)).toBeLessThan(TOLERANCE * most);
        // One triangle is measured.
        expect(gram.every((sum, j) => sum === gram[(j % width) * width + Math.floor(j / width)])).toBe(true);
      }
    }
  });
});

test('names the weights that multiply each input, each once', async () => {
  const pieces = openModel(await openCheckpoint('fixtures/tiny-llama'), { precision: 'fp32' });
  const found = await measure(pieces);
  const matrices = new Map(
    [...found.values()].flat().flatMap(({ readers, width }) => readers.map((name) => [name, width])),
  );
  const { numHiddenLayers } = pieces.spec;
  expect(matrices.size).toBe(numHiddenLayers * 7 + 1);
  for (const [name, width] of matrices) if (name !== HEAD_WEIGHT) expect(pieces.weight(name).shape[1]).toBe(width);
});
