/** What is written is read back exactly, by us and by the npm package `safetensors`. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { byteLength, DTYPE_BYTES, type DType } from '../../src/core/dtype.ts';
import { cast, concatRows, type FileTensor, float32Tensor, int32Tensor, transpose } from '../../src/core/tensor.ts';
import { readTensorBytes } from '../../src/tensors/index.ts';
import { SAFETENSORS_DTYPES, safetensorsName } from './dtypes.ts';
import { readSafetensors } from './read.ts';
import { type Entry, writeSafetensors } from './write.ts';

/** The part of the package that needs no browser. It has no types and knows no metadata. */
const { SafeTensor } = createRequire(import.meta.url)('safetensors') as {
  SafeTensor: new (
    file: Uint8Array,
  ) => {
    readonly metadata: ReadonlyMap<string, { readonly dtype: string; readonly shape: readonly number[] }>;
    getTensor(name: string): Uint8Array;
  };
};

const folder = await mkdtemp(join(tmpdir(), 'lacuna-safetensors-write-'));
afterAll(() => rm(folder, { recursive: true }));
const path = join(folder, 'w.safetensors');

test('a file byte by byte', async () => {
  await writeSafetensors(path, [{ name: 'w', data: int32Tensor([1, -1]) }], { format: 'pt' });
  const header = '{"__metadata__":{"format":"pt"},"w":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}';
  // 85 characters and 3 spaces, so that the data start at a multiple of 8.
  expect(header.length).toBe(85);
  const wanted = Buffer.concat([
    Buffer.from('5800000000000000', 'hex'),
    Buffer.from(`${header}   `),
    Buffer.from('01000000ffffffff', 'hex'),
  ]);
  expect((await readFile(path)).toString('hex')).toBe(wanted.toString('hex'));
});

test('every dtype has a name in the format, and no two the same', () => {
  const dtypes = Object.keys(DTYPE_BYTES) as DType[];
  expect(new Set(dtypes.map(safetensorsName)).size).toBe(dtypes.length);
  for (const dtype of dtypes) expect(SAFETENSORS_DTYPES[safetensorsName(dtype)]).toBe(dtype);
});

test('tensors are evaluated on the way', async () => {
  const a = float32Tensor([1, 2, 3, 4], [2, 2]);
  await writeSafetensors(path, [
    { name: 'bf16', data: cast(a, 'bfloat16') },
    { name: 'joined', data: concatRows([a, transpose(a)]) },
  ]);
  const { tensors } = await readSafetensors(path);
  expect(tensors.get('bf16')).toMatchObject({ dtype: 'bfloat16', shape: [2, 2] });
  const joined = tensors.get('joined') as FileTensor;
  expect(joined.shape).toEqual([4, 2]);
  expect(new Float32Array((await readTensorBytes(joined)).buffer)).toEqual(Float32Array.of(1, 2, 3, 4, 1, 3, 2, 4));
});

test('a tensor that cannot be read leaves the old file and nothing else', async () => {
  await writeSafetensors(path, []);
  const source = join(folder, 'short.bin');
  await writeFile(source, new Uint8Array(3));
  const data: FileTensor = {
    kind: 'file',
    dtype: 'uint8',
    shape: [4],
    path: source,
    byteOffset: 0,
    name: 'x',
    mustBeFinite: false,
  };
  await expect(writeSafetensors(path, [{ name: 'x', data }])).rejects.toMatchObject({ code: 'bad-file' });
  expect((await readSafetensors(path)).tensors.size).toBe(0);
  expect((await readdir(folder)).sort()).toEqual(['short.bin', 'w.safetensors']);
});

test.each(['a', '__metadata__'])('the name "%s" given again is refused', async (name) => {
  const data = float32Tensor([1]);
  const entries = [
    { name: 'a', data },
    { name, data },
  ];
  await expect(writeSafetensors(path, entries)).rejects.toMatchObject({
    code: 'usage',
    message: expect.stringContaining(name),
  });
});

const tensor = fc
  .tuple(fc.constantFrom(...(Object.keys(DTYPE_BYTES) as DType[])), fc.array(fc.nat(4), { maxLength: 4 }), fc.nat(255))
  .map(([dtype, shape, start]) => {
    const bytes = new Uint8Array(byteLength(dtype, shape)).map((_, i) => start + 37 * i);
    return { kind: 'bytes', dtype, shape, bytes } as const;
  });
const name = fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('__proto__', '1', '0', 'a"b\\', 'toString'));
const entries: fc.Arbitrary<Entry[]> = fc.uniqueArray(
  fc.record({ name: name.filter((text) => text !== '__metadata__'), data: tensor }),
  {
    selector: (entry) => entry.name,
    maxLength: 8,
  },
);

test('random tensors come back as they were, in order, and start at a multiple of 8', async () => {
  await fc.assert(
    fc.asyncProperty(entries, fc.dictionary(fc.string(), fc.string(), { maxKeys: 3 }), async (list, metadata) => {
      await writeSafetensors(path, list, metadata);
      const read = await readSafetensors(path);
      expect(read.metadata).toEqual({ ...metadata });
      // Empty tensors have the same offset as the next one, so their order is free.
      const filled = (names: readonly string[]): string[] =>
        names.filter((key) => read.tensors.get(key)?.shape.includes(0) === false);
      expect(filled([...read.tensors.keys()])).toEqual(filled(list.map((entry) => entry.name)));
      expect(read.tensors.size).toBe(list.length);
      for (const entry of list) {
        const found = read.tensors.get(entry.name) as FileTensor;
        expect([found.dtype, found.shape]).toEqual([entry.data.dtype, entry.data.shape]);
        expect(await readTensorBytes(found)).toEqual(await readTensorBytes(entry.data));
      }
      const [first] = read.tensors.values();
      if (first !== undefined) expect(first.byteOffset % 8).toBe(0);
    }),
    { seed: 4, numRuns: 150 },
  );
});

test('the npm package reads the same names, types, shapes and bytes', async () => {
  await fc.assert(
    fc.asyncProperty(entries, async (list) => {
      await writeSafetensors(path, list);
      const other = new SafeTensor(Uint8Array.from(await readFile(path)));
      expect(other.metadata.size).toBe(list.length);
      for (const { name: key, data } of list) {
        expect(other.metadata.get(key)).toMatchObject({ dtype: safetensorsName(data.dtype), shape: data.shape });
        expect(Uint8Array.from(other.getTensor(key))).toEqual(await readTensorBytes(data));
      }
    }),
    { seed: 5, numRuns: 60 },
  );
});
