import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { attr, BASE_OPSETS, type Graph } from '../../src/core/graph.ts';
import { GraphBuilder } from '../../src/core/graph-builder.ts';
import { float32Tensor } from '../../src/core/tensor.ts';
import { readTensorBytes } from '../../src/tensors/index.ts';
import { readOnnx } from './read.ts';
import { writeOnnx } from './write.ts';

let folder: string;
let model: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lacuna-read-'));
  model = join(folder, 'model.onnx');
});
afterEach(() => rm(folder, { recursive: true }));

const values = float32Tensor(Float32Array.from({ length: 1000 }, (_, i) => i));

function graph(): Graph {
  const g = new GraphBuilder('');
  g.initializer('weight', values);
  g.op('Constant', [], { attributes: { value: attr.tensor(values) } });
  return { ...g.body('main', [], []), functions: [], opsets: BASE_OPSETS, metadata: {} };
}

test('large constants inside the model become ranges of it', async () => {
  await writeOnnx(graph(), model);
  const { value } = (await readOnnx(model)).nodes[0].attributes;
  expect(value).toMatchObject({ kind: 'tensor', value: { kind: 'file', path: model, shape: [1000] } });
  expect(value.kind === 'tensor' && (await readTensorBytes(value.value))).toEqual(values.bytes);
});

test('external data that end too early are named', async () => {
  await writeOnnx(graph(), model);
  await truncate(`${model}_data`, 3999);
  await expect(readOnnx(model)).rejects.toMatchObject({
    code: 'bad-file',
    message: expect.stringContaining('Tensor "weight" ends at byte 4000 of model.onnx_data, which has 3999'),
  });
});

test('external data that are missing are named', async () => {
  await writeOnnx(graph(), model);
  await rm(`${model}_data`);
  await expect(readOnnx(model)).rejects.toMatchObject({
    code: 'not-found',
    message: expect.stringContaining('model.onnx_data'),
  });
});

test('no model, a folder, and bytes of something else', async () => {
  await expect(readOnnx(model)).rejects.toMatchObject({ code: 'not-found' });
  await expect(readOnnx(folder)).rejects.toMatchObject({ code: 'bad-file' });
  await writeFile(model, '{"not": "protobuf"}');
  await expect(readOnnx(model)).rejects.toMatchObject({ code: 'bad-file' });
  await writeFile(model, '');
  await expect(readOnnx(model)).rejects.toMatchObject({
    code: 'bad-file',
    message: expect.stringContaining('no graph'),
  });
});

test('a model past the size of a protobuf message is refused unread', async () => {
  await writeFile(model, '');
  await truncate(model, 2 ** 31);
  await expect(readOnnx(model)).rejects.toMatchObject({
    code: 'bad-file',
    hint: expect.stringContaining('external data'),
  });
});
