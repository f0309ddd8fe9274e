/** Files of the format's own Python writer are read exactly, and a broken header never causes a crash. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { LacunaError } from '../../src/core/errors.ts';
import { readTensorBytes } from '../../src/tensors/index.ts';
import { readSafetensors } from './read.ts';

const folder = await mkdtemp(join(tmpdir(), 'lacuna-safetensors-read-'));
afterAll(() => rm(folder, { recursive: true }));

let files = 0;
async function saved(bytes: Uint8Array): Promise<string> {
  files += 1;
  const path = join(folder, `${files}.safetensors`);
  await writeFile(path, bytes);
  return path;
}

function withHeader(header: string, data = new Uint8Array(0)): Uint8Array {
  const text = new TextEncoder().encode(header);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  return Buffer.concat([length, text, data]);
}

/**
 * Written by Python's safetensors 0.8.0 (safetensors.torch.save with metadata={'format': 'pt'}): bool [T, F, T],
 * u8 [1, 255], i8 [[-128], [127]], i16 [-2], u16 [65535], i32 [-3], u32 [4294967295], i64 [[-4, 5]], u64 [6],
 * f8_e4m3 [1.5, -448], f8_e5m2 [1.5], f16 [1.5, -65504, 2^-24], bf16 [[1.5, -3]], f32 0.1, f64 [0.1], empty float32 [0, 4].
 */
const FROM_PYTHON = [
  'yAMAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJmb3JtYXQiOiJwdCJ9LCJ1NjQiOnsiZHR5cGUiOiJVNjQiLCJzaGFwZSI6WzFdLCJkYXRhX29mZnNl',
  'dHMiOlswLDhdfSwiaTY0Ijp7ImR0eXBlIjoiSTY0Iiwic2hhcGUiOlsxLDJdLCJkYXRhX29mZnNldHMiOls4LDI0XX0sImY2NCI6eyJkdHlwZSI6',
  'IkY2NCIsInNoYXBlIjpbMV0sImRhdGFfb2Zmc2V0cyI6WzI0LDMyXX0sImVtcHR5Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlswLDRdLCJkYXRh',
  'X29mZnNldHMiOlszMiwzMl19LCJmMzIiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6W10sImRhdGFfb2Zmc2V0cyI6WzMyLDM2XX0sInUzMiI6eyJk',
  'dHlwZSI6IlUzMiIsInNoYXBlIjpbMV0sImRhdGFfb2Zmc2V0cyI6WzM2LDQwXX0sImkzMiI6eyJkdHlwZSI6IkkzMiIsInNoYXBlIjpbMV0sImRh',
  'dGFfb2Zmc2V0cyI6WzQwLDQ0XX0sImJmMTYiOnsiZHR5cGUiOiJCRjE2Iiwic2hhcGUiOlsxLDJdLCJkYXRhX29mZnNldHMiOls0NCw0OF19LCJm',
  'MTYiOnsiZHR5cGUiOiJGMTYiLCJzaGFwZSI6WzNdLCJkYXRhX29mZnNldHMiOls0OCw1NF19LCJ1MTYiOnsiZHR5cGUiOiJVMTYiLCJzaGFwZSI6',
  'WzFdLCJkYXRhX29mZnNldHMiOls1NCw1Nl19LCJpMTYiOnsiZHR5cGUiOiJJMTYiLCJzaGFwZSI6WzFdLCJkYXRhX29mZnNldHMiOls1Niw1OF19',
  'LCJmOF9lNG0zIjp7ImR0eXBlIjoiRjhfRTRNMyIsInNoYXBlIjpbMl0sImRhdGFfb2Zmc2V0cyI6WzU4LDYwXX0sImY4X2U1bTIiOnsiZHR5cGUi',
  'OiJGOF9FNU0yIiwic2hhcGUiOlsxXSwiZGF0YV9vZmZzZXRzIjpbNjAsNjFdfSwiaTgiOnsiZHR5cGUiOiJJOCIsInNoYXBlIjpbMiwxXSwiZGF0',
  'YV9vZmZzZXRzIjpbNjEsNjNdfSwidTgiOnsiZHR5cGUiOiJVOCIsInNoYXBlIjpbMl0sImRhdGFfb2Zmc2V0cyI6WzYzLDY1XX0sImJvb2wiOnsi',
  'ZHR5cGUiOiJCT09MIiwic2hhcGUiOlszXSwiZGF0YV9vZmZzZXRzIjpbNjUsNjhdfX0gIAYAAAAAAAAA/P////////8FAAAAAAAAAJqZmZmZmbk/',
  'zczMPf/////9////wD9AwAA+//sBAP///v88/j6AfwH/AQAB',
].join('');

test('every dtype, a scalar, an empty tensor and metadata, as Python wrote them', async () => {
  const { tensors, metadata } = await readSafetensors(await saved(Buffer.from(FROM_PYTHON, 'base64')), {
    mustBeFinite: true,
  });
  const found: Record<string, unknown> = {};
  for (const [name, tensor] of tensors) {
    const bytes = await readTensorBytes(tensor);
    found[name] = [tensor.dtype, tensor.shape, Buffer.from(bytes).toString('hex'), tensor.mustBeFinite];
  }
  expect(metadata).toEqual({ format: 'pt' });
  expect(found).toEqual({
    bool: ['bool', [3], '010001', false],
    u8: ['uint8', [2], '01ff', false],
    i8: ['int8', [2, 1], '807f', false],
    i16: ['int16', [1], 'feff', false],
    u16: ['uint16', [1], 'ffff', false],
    i32: ['int32', [1], 'fdffffff', false],
    u32: ['uint32', [1], 'ffffffff', false],
    i64: ['int64', [1, 2], 'fcffffffffffffff0500000000000000', false],
    u64: ['uint64', [1], '0600000000000000', false],
    // 1.5 in e4m3 (bias 7): exponent 7, mantissa 100; -448 is the largest, 1 1111 110. In e5m2 (bias 15): 0 01111 10.
    f8_e4m3: ['float8e4m3', [2], '3cfe', false],
    f8_e5m2: ['float8e5m2', [1], '3e', false],
    f16: ['float16', [3], '003efffb0100', true],
    bf16: ['bfloat16', [1, 2], 'c03f40c0', true],
    f32: ['float32', [], 'cdcccc3d', true],
    f64: ['float64', [1], '9a9999999999b93f', true],
    empty: ['float32', [0, 4], '', true],
  });
});

test('finite values are asked for only when wanted', async () => {
  const { tensors } = await readSafetensors(await saved(Buffer.from(FROM_PYTHON, 'base64')));
  expect([...tensors.values()].filter(({ mustBeFinite }) => mustBeFinite)).toEqual([]);
});

test('tensors come in the order of their bytes, whatever the order in the header', async () => {
  const header =
    '{"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"z":{"dtype":"U8","shape":[0],"data_offsets":[1,1]},' +
    '"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}';
  const { tensors } = await readSafetensors(await saved(withHeader(header, Uint8Array.of(7, 8, 9))));
  expect([...tensors.keys()]).toEqual(['a', 'z', 'b']);
  expect(tensors.get('b')?.byteOffset).toBe(8 + header.length + 1);
});

test('names that are special to JavaScript are names like any other', async () => {
  const header =
    '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"constructor":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}';
  const { tensors } = await readSafetensors(await saved(withHeader(header, Uint8Array.of(3, 4))));
  expect([...tensors.keys()]).toEqual(['__proto__', 'constructor']);
});

test('a file without tensors, and spaces after the header', async () => {
  const { tensors, metadata } = await readSafetensors(await saved(withHeader('{"__metadata__":{"a":"b"}}   ')));
  expect([tensors.size, metadata]).toEqual([0, { a: 'b' }]);
});

test('a missing file, and a folder in its place', async () => {
  await expect(readSafetensors(join(folder, 'none'))).rejects.toMatchObject({ name: 'LacunaError', code: 'not-found' });
  await expect(readSafetensors(folder)).rejects.toMatchObject({ name: 'LacunaError' });
});

describe('no header brings anything down but by a LacunaError', () => {
  async function outcome(bytes: Uint8Array): Promise<'read' | 'refused'> {
    const path = await saved(bytes);
    try {
      const { tensors } = await readSafetensors(path, { mustBeFinite: true });
      for (const tensor of tensors.values()) await readTensorBytes(tensor);
      return 'read';
    } catch (error) {
      if (error instanceof LacunaError) return 'refused';
      throw error;
    } finally {
      await rm(path);
    }
  }

  test('nested a hundred thousand deep, in every place', async () => {
    const deep = '['.repeat(100_000) + ']'.repeat(100_000);
    const entry = (field: string): string =>
      `{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`.replace(
        new RegExp(`"${field}":("F32"|\\[[^\\]]*\\])`),
        `"${field}":${deep}`,
      );
    const headers = [
      `{"w":${deep}}`,
      `{"__metadata__":${deep}}`,
      entry('dtype'),
      entry('shape'),
      entry('data_offsets'),
    ];
    for (const header of headers) {
      expect(header.length).toBeGreaterThan(200_000);
      expect(await outcome(withHeader(header, new Uint8Array(8)))).toBe('refused');
    }
  });

  const valid = Buffer.from(FROM_PYTHON, 'base64');
  const headerEnd = 8 + Number(valid.readBigUInt64LE(0));

  test('with random bytes changed', async () => {
    const seen = { read: 0, refused: 0 };
    const change = fc.tuple(
      fc.nat(headerEnd - 1),
      fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('0123456789-."[]{},:eE '))),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        const bytes = Uint8Array.from(valid);
        for (const [place, value] of changes) bytes[place] = value;
        seen[await outcome(bytes)] += 1;
      }),
      { seed: 2, numRuns: 600 },
    );
    // Changed names are still valid, changed numbers are not. Both must occur, or the test tests nothing.
    expect(seen.read).toBeGreaterThan(3);
    expect(seen.refused).toBeGreaterThan(100);
  });

  test('with values replaced by random JSON', async () => {
    const fields = ['dtype', 'shape', 'data_offsets'] as const;
    const odd = fc.oneof(
      fc.jsonValue(),
      fc.array(fc.integer(), { maxLength: 3 }),
      fc.constantFrom(-0, 1e308, 2 ** 53, 'F32'),
    );
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...fields), odd, async (field, value) => {
        const entry = { dtype: 'F32', shape: [2], data_offsets: [0, 8], [field]: value };
        const result = await outcome(withHeader(JSON.stringify({ w: entry }), new Uint8Array(8)));
        if (result === 'refused') refused += 1;
      }),
      { seed: 3, numRuns: 150 },
    );
    expect(refused).toBeGreaterThan(100);
  });

  test('cut off anywhere', async () => {
    for (let length = 0; length < valid.length; length += 7)
      expect(await outcome(valid.subarray(0, length))).toBe('refused');
    expect(await outcome(valid)).toBe('read');
  });
});
