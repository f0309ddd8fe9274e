/** Lengths and positions that the embed piece derives from masks, worked out by hand. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeModel } from '../../formats/onnx/index.ts';
import { BASE_OPSETS } from '../../src/core/graph.ts';
import { GraphBuilder, value } from '../../src/core/graph-builder.ts';
import { choosePrecision } from '../../src/core/precision.ts';
import type { Runner } from '../../src/core/runner.ts';
import { float32Tensor } from '../../src/core/tensor.ts';
import { createOpenGraph } from '../../src/runtime/open-graph.ts';
import { embedding } from './embedding.ts';

let runner: Runner;

beforeAll(async () => {
  const g = new GraphBuilder('embed');
  embedding(g, {
    name: 'table',
    data: float32Tensor([0, 0, 1, 10, 2, 20], [3, 2]),
    precision: choosePrecision('fp32'),
    importance: undefined,
  });
  const body = g.body(
    'embed',
    [value('input_ids', 'int64', ['b', 's']), value('attention_mask', 'int64', ['b', 't'])],
    [
      value('hidden.0', 'float32', ['b', 's', 2]),
      value('seqlens_k', 'int32', ['b']),
      value('total_sequence_length', 'int32', []),
      value('position_ids', 'int64', ['b', 's']),
    ],
  );
  const openGraph = createOpenGraph({ encode: encodeModel, threads: 1 });
  runner = await openGraph({ ...body, functions: [], opsets: BASE_OPSETS, metadata: {} });
});
afterAll(() => runner.close());

async function run(ids: readonly number[][], mask: readonly number[][]) {
  const int64 = (rows: readonly number[][]) => ({
    dtype: 'int64' as const,
    dims: [rows.length, rows[0].length],
    data: BigInt64Array.from(rows.flat(), BigInt),
  });
  const outputs = await runner.run({ input_ids: int64(ids), attention_mask: int64(mask) });
  const numbers = (name: string) => Array.from(outputs[name].data, Number);
  return {
    hidden: numbers('hidden.0'),
    lengths: numbers('seqlens_k'),
    total: numbers('total_sequence_length'),
    totalDims: outputs.total_sequence_length.dims,
    positions: numbers('position_ids'),
  };
}

test('a prompt: positions from 0, lengths less one', async () => {
  expect(await run([[2, 0, 1]], [[1, 1, 1]])).toEqual({
    hidden: [2, 20, 0, 0, 1, 10],
    lengths: [2],
    total: [3],
    totalDims: [],
    positions: [0, 1, 2],
  });
});

test('a chunk after a past of two: the last columns of the mask', async () => {
  expect(await run([[1, 1]], [[1, 1, 1, 1]])).toMatchObject({ lengths: [3], total: [4], positions: [2, 3] });
});

test('right-padded rows: padding repeats the last position, a row of padding stays at 0', async () => {
  const mask = [
    [1, 1, 1],
    [1, 0, 0],
    [0, 0, 0],
  ];
  expect(await run(mask, mask)).toMatchObject({
    lengths: [2, 0, -1],
    total: [3],
    positions: [0, 1, 2, 0, 0, 0, 0, 0, 0],
  });
});

test('decoding goes on at the number of true tokens, wherever the padding is', async () => {
  const mask = [
    [1, 1, 1, 1],
    [1, 0, 0, 1],
    [0, 1, 1, 1],
  ];
  expect(await run([[1], [1], [1]], mask)).toMatchObject({ lengths: [3, 1, 2], total: [4], positions: [3, 1, 2] });
});
