/** Every element type against gguf-py (fixtures/gguf/make.py), bit for bit. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readGguf } from '../../../formats/gguf/read.ts';
import { readSafetensors } from '../../../formats/safetensors/index.ts';
import { cast, GGML_TYPES, type TensorExpr, transpose } from '../../core/tensor.ts';
import { readFloats, readTensorBytes, streamTensor } from '../../tensors/index.ts';
import { READ_TYPES, storedBytes } from './types.ts';

const fixtures = join(import.meta.dirname, '../../../fixtures/gguf');
const { tensors } = await readGguf(join(fixtures, 'types.gguf'), { mustBeFinite: true });
const { tensors: expected } = await readSafetensors(join(fixtures, 'types.safetensors'));

function named<T>(map: ReadonlyMap<string, T>, name: string): T {
  const found = map.get(name);
  if (found === undefined) throw new Error(`no tensor ${name}`);
  return found;
}

test('all types that are read are in the fixture', () => {
  expect([...tensors.keys()].sort()).toEqual([...READ_TYPES].sort());
  expect(READ_TYPES).toEqual(expect.arrayContaining([...GGML_TYPES]));
});

describe.each(READ_TYPES)('%s', (type) => {
  const tensor = named(tensors, type);
  const wanted = named(expected, type);

  test('has the values of the reference, bit for bit', async () => {
    expect(tensor.shape).toEqual(wanted.shape);
    const values = await readFloats(wanted);
    expect(new Set(values).size).toBeGreaterThan(100);
    expect(Buffer.compare(await readTensorBytes(cast(tensor, 'float32')), await readTensorBytes(wanted))).toBe(0);
  });

  test('can be transposed and cast like any other', async () => {
    const of = (expr: TensorExpr) => readTensorBytes(cast(transpose(cast(expr, 'float32')), 'bfloat16'));
    expect(Buffer.compare(await of(tensor), await of(wanted))).toBe(0);
  });
});

test('a tensor of many blocks is streamed in several', async () => {
  // The same three rows repeated: more than one block of 4 MB.
  const tensor = named(tensors, 'Q4_K');
  const parts = Array.from({ length: 800 }, () => tensor);
  const long: TensorExpr = { kind: 'concat', dtype: 'float32', shape: [2400, 512], parts };
  let bytes = 0;
  for await (const block of streamTensor(long)) bytes += block.length;
  expect(bytes).toBe(2400 * 512 * 4);
});

test('sizes in the file', () => {
  const bits = Object.fromEntries([...tensors].map(([name, tensor]) => [name, (8 * storedBytes(tensor)) / (3 * 512)]));
  // Bits a value, as published: block bytes * 8 / block values.
  expect(bits).toEqual({
    ...{ F32: 32, F16: 16, BF16: 16, Q8_0: 8.5, Q5_1: 6, Q5_0: 5.5, Q4_1: 5, Q4_0: 4.5 },
    ...{ Q4_K: 4.5, Q5_K: 5.5, Q6_K: 6.5625 },
  });
});
