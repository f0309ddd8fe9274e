import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BASE_OPSETS, type Graph, type Initializer } from '../../src/core/graph.ts';
import type { Progress } from '../../src/core/progress.ts';
import {
  addConstant,
  cast,
  concatRows,
  type FileTensor,
  float32Tensor,
  int64Tensor,
  records,
  transpose,
} from '../../src/core/tensor.ts';
import { readTensorBytes } from '../../src/tensors/index.ts';
import { readOnnx } from './read.ts';
import { writeOnnx } from './write.ts';

let folder: string;
let model: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lacuna-write-'));
  model = join(folder, 'model.onnx');
});
afterEach(() => rm(folder, { recursive: true }));

function graphOf(initializers: readonly Initializer[]): Graph {
  return {
    name: 'main',
    inputs: [],
    outputs: [],
    initializers,
    nodes: [],
    functions: [],
    opsets: BASE_OPSETS,
    metadata: {},
  };
}

/** A matrix of float32 0, 1, 2, … in a file. */
async function fileMatrix(rows: number, columns: number): Promise<FileTensor> {
  const path = join(folder, 'weights.bin');
  await writeFile(
    path,
    Float32Array.from({ length: rows * columns }, (_, i) => i),
  );
  return {
    kind: 'file',
    dtype: 'float32',
    shape: [rows, columns],
    path,
    byteOffset: 0,
    name: 'matrix',
    mustBeFinite: false,
  };
}

test('every kind of weight comes back as it was', async () => {
  const matrix = await fileMatrix(30, 20);
  const initializers = [
    { name: 'matrix', data: matrix },
    { name: 'half', data: cast(matrix, 'float16') },
    { name: 'turned', data: transpose(matrix) },
    { name: 'and one', data: addConstant(matrix, 1) },
    { name: 'and two', data: addConstant(matrix, 2) },
    { name: 'stacked', data: concatRows([matrix, matrix]) },
    { name: 'memory', data: float32Tensor(Float32Array.from({ length: 500 }, (_, i) => -i)) },
    { name: 'small', data: int64Tensor([1, -2]) },
  ];
  await writeOnnx(graphOf(initializers), model);
  const read = await readOnnx(model);
  expect(read.initializers.map(({ name, data }) => [name, data.kind, data.dtype, data.shape])).toEqual([
    ['matrix', 'file', 'float32', [30, 20]],
    ['half', 'file', 'float16', [30, 20]],
    ['turned', 'file', 'float32', [20, 30]],
    ['and one', 'file', 'float32', [30, 20]],
    ['and two', 'file', 'float32', [30, 20]],
    ['stacked', 'file', 'float32', [60, 20]],
    ['memory', 'file', 'float32', [500]],
    ['small', 'bytes', 'int64', [2]],
  ]);
  for (const [i, { data }] of initializers.entries())
    expect(await readTensorBytes(read.initializers[i].data)).toEqual(await readTensorBytes(data));
});

test('weights start at pages, and the same range of a file is written once', async () => {
  const matrix = await fileMatrix(30, 20); // 2400 bytes
  await writeOnnx(
    graphOf([
      { name: 'embedding', data: matrix },
      { name: 'other', data: cast(matrix, 'float64') }, // 4800 bytes
      { name: 'head', data: { ...matrix, name: 'another name' } },
    ]),
    model,
  );
  const offsets = (await readOnnx(model)).initializers.map(({ data }) => data.kind === 'file' && data.byteOffset);
  expect(offsets).toEqual([0, 4096, 0]);
  const data = await readFile(`${model}_data`);
  expect(data.length).toBe(4096 + 4800);
  expect(data.subarray(2400, 4096).every((byte) => byte === 0)).toBe(true);
});

test('records of one matrix are written once where they are as long, and apart where they are not', async () => {
  const matrix = await fileMatrix(30, 20); // 80 bytes a row
  const of = (alignment: number) => records(30, [matrix], alignment);
  const lengths = [of(64), of(64), of(256)];
  await writeOnnx(graphOf(lengths.map((data, i) => ({ name: `records.${i}`, data }))), model);
  const offsets = (await readOnnx(model)).initializers.map(({ data }) => data.kind === 'file' && data.byteOffset);
  expect(offsets).toEqual([0, 0, 4096]);
});

test('progress counts the bytes written; equal graphs give equal files', async () => {
  const graph = graphOf([{ name: 'w', data: cast(await fileMatrix(1500, 1000), 'float64') }]);
  let advanced = 0;
  const stages: unknown[] = [];
  const progress: Progress = {
    stage: (...stage) => {
      stages.push(stage);
      return {
        advance: (count) => {
          advanced += count;
        },
        done: () => stages.push('done'),
      };
    },
    note: () => {},
  };
  await writeOnnx(graph, model, { progress });
  expect(stages).toEqual([['Writing model.onnx', 12_000_000, 'bytes'], 'done']);
  expect(advanced).toBe(12_000_000);
  const first = await Promise.all([readFile(model), readFile(`${model}_data`)]);
  await writeOnnx(graph, model);
  const second = await Promise.all([readFile(model), readFile(`${model}_data`)]);
  expect(first.map((bytes, i) => Buffer.compare(bytes, second[i]))).toEqual([0, 0]);
});

test('a model without large weights has no data file', async () => {
  await writeOnnx(graphOf([{ name: 'small', data: int64Tensor([1]) }]), model);
  expect(await readdir(folder)).toEqual(['model.onnx']);
});

test.each([
  ['a weight that is cut short', 'bad-file', async (matrix: FileTensor) => writeFile(matrix.path, 'short')],
  ['a weight that is gone', 'not-found', async (matrix: FileTensor) => rm(matrix.path)],
])('%s leaves nothing behind', async (_, code, damage) => {
  const matrix = await fileMatrix(30, 20);
  await damage(matrix);
  await expect(writeOnnx(graphOf([{ name: 'w', data: matrix }]), model)).rejects.toMatchObject({ code });
  expect((await readdir(folder)).filter((name) => name !== 'weights.bin')).toEqual([]);
});

test('stopping half-way leaves nothing behind', async () => {
  const stop = new AbortController();
  const progress: Progress = {
    stage: () => ({ advance: () => stop.abort(), done: () => {} }),
    note: () => {},
  };
  const data = float32Tensor(new Float32Array(4 << 20)); // 16 MB: several blocks
  const writing = writeOnnx(graphOf([{ name: 'w', data }]), model, { progress, signal: stop.signal });
  await expect(writing).rejects.toMatchObject({ code: 'interrupted' });
  expect(await readdir(folder)).toEqual([]);
});

test('when the model itself cannot be written the data go as well', async () => {
  await mkdir(join(model, 'in the way'), { recursive: true });
  const data = float32Tensor(new Float32Array(1000));
  await expect(writeOnnx(graphOf([{ name: 'w', data }]), model)).rejects.toMatchObject({ code: 'io' });
  expect(await readdir(folder)).toEqual(['model.onnx']);
});
