/** Tensor expressions are evaluated exactly, in blocks. Truncated or non-finite data is refused. */
import { mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { byteLength, DTYPE_BYTES, type DType, elementCount } from '../core/dtype.ts';
import { LacunaError } from '../core/errors.ts';
import {
  addConstant,
  addLowRank,
  boolTensor,
  cast,
  concatRows,
  type FileTensor,
  float32Tensor,
  int32Tensor,
  int64Tensor,
  multiplyConstant,
  quantize,
  records,
  regroupRows,
  selectRows,
  type TensorExpr,
  transpose,
  waves,
} from '../core/tensor.ts';
import { keptFiles, readFloats, readTensorBytes, streamTensor } from './index.ts';
import { transposeBlocks } from './transpose.ts';

const folder = await mkdtemp(join(tmpdir(), 'lacuna-tensor-data-'));
afterAll(() => rm(folder, { recursive: true }));

let files = 0;

/** Puts bytes into a file after `before` other bytes. */
async function fileTensor(
  dtype: DType,
  shape: readonly number[],
  bytes: Uint8Array,
  { before = 0, mustBeFinite = false } = {},
): Promise<FileTensor> {
  files += 1;
  const path = join(folder, `${files}.bin`);
  await writeFile(path, Buffer.concat([new Uint8Array(before).fill(0xee), bytes, new Uint8Array(3).fill(0xee)]));
  return { kind: 'file', dtype, shape, path, byteOffset: before, name: `tensor ${files}`, mustBeFinite };
}

const bytesOf = (values: ArrayBufferView): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** Bytes without order, from a fixed linear congruence. */
function noise(length: number): Uint8Array {
  let state = 1;
  return new Uint8Array(length).map(() => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state >>> 24;
  });
}

async function blocksOf(expr: TensorExpr): Promise<Uint8Array[]> {
  const blocks: Uint8Array[] = [];
  for await (const block of streamTensor(expr)) blocks.push(block);
  return blocks;
}

/** File descriptors of this process, from the folder in which Linux and macOS list them. */
async function openFiles(): Promise<number> {
  return (await readdir('/dev/fd')).length;
}

async function failure(promise: Promise<unknown>): Promise<LacunaError> {
  const error = await promise.then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(LacunaError);
  return error as LacunaError;
}

describe('a range of a file', () => {
  test.each([0, 1, 7, 8])('is read from byte %i on, whatever its alignment', async (before) => {
    const tensor = await fileTensor('float32', [3], bytesOf(Float32Array.of(1, 2, 3)), { before });
    expect(await readFloats(tensor)).toEqual(Float32Array.of(1, 2, 3));
  });

  test('comes in blocks of a mebibyte that are kept, not reused', async () => {
    const bytes = noise(3 * (1 << 20) + 10);
    const blocks = await blocksOf(await fileTensor('bfloat16', [bytes.length / 2], bytes, { before: 5 }));
    expect(blocks.map((block) => block.length)).toEqual([1 << 20, 1 << 20, 1 << 20, 10]);
    expect(Buffer.concat(blocks).equals(bytes)).toBe(true);
  });

  test('of several blocks is kept under a cast too', async () => {
    const values = Uint16Array.from({ length: 3 * (1 << 18) + 5 }, (_, i) => 0x3f80 + (i % 99));
    const tensor = await fileTensor('bfloat16', [values.length], bytesOf(values));
    const blocks = await blocksOf(cast(tensor, 'float32'));
    expect(blocks.map((block) => block.length)).toEqual([1 << 20, 1 << 20, 1 << 20, 20]);
    const upper = new Uint16Array(Uint8Array.from(Buffer.concat(blocks)).buffer).filter((_, i) => i % 2 === 1);
    expect(Buffer.compare(bytesOf(upper), bytesOf(values))).toBe(0);
  });

  test('scalars and empty tensors', async () => {
    expect(await readFloats(await fileTensor('float32', [], bytesOf(Float32Array.of(5))))).toEqual(Float32Array.of(5));
    expect(await readTensorBytes(await fileTensor('int64', [0, 4], new Uint8Array(0)))).toEqual(new Uint8Array(0));
    expect(await blocksOf(transpose(await fileTensor('float32', [0, 4], new Uint8Array(0))))).toEqual([]);
  });

  test('that ends too early is named with its bytes', async () => {
    const tensor = await fileTensor('float32', [4], new Uint8Array(16), { before: 8 });
    await truncate(tensor.path, 21);
    expect(await failure(readTensorBytes(tensor))).toMatchObject({
      code: 'bad-file',
      message: `${tensor.path} is truncated: tensor "${tensor.name}" takes bytes 8 to 24, but the file ends at 21`,
    });
  });

  test('that is truncated in a later block fails there, not as an unhandled rejection', async () => {
    const tensor = await fileTensor('uint8', [3 << 20], new Uint8Array(3 << 20));
    await truncate(tensor.path, (2 << 20) + 5);
    let blocks = 0;
    const reading = (async () => {
      for await (const block of streamTensor(tensor)) blocks += block.length > 0 ? 1 : 0;
    })();
    expect((await failure(reading)).code).toBe('bad-file');
    expect(blocks).toBe(2);
  });

  test('of a file that is gone', async () => {
    const tensor = await fileTensor('uint8', [1], new Uint8Array(1));
    await rm(tensor.path);
    expect(await failure(readTensorBytes(tensor))).toMatchObject({
      code: 'not-found',
      message: expect.stringContaining(`tensor "${tensor.name}"`),
    });
  });

  test('breaking off closes the file while the next block is still being read', async () => {
    const tensor = await fileTensor('uint8', [3 << 20], new Uint8Array(3 << 20));
    const before = await openFiles();
    for await (const block of streamTensor(tensor)) {
      expect([block.length, await openFiles()]).toEqual([1 << 20, before + 1]);
      break;
    }
    expect(await openFiles()).toBe(before);
  });

  test('of files that are kept: opened once for all tensors, closed together', async () => {
    const tensors = [1, 2].map((byteOffset) => ({ byteOffset, bytes: Uint8Array.of(byteOffset, byteOffset + 1) }));
    const { path } = await fileTensor('uint8', [4], Uint8Array.of(0, 1, 2, 3));
    const before = await openFiles();
    const files = keptFiles();
    for (const { byteOffset, bytes } of tensors) {
      const tensor = {
        kind: 'file',
        dtype: 'uint8',
        shape: [2],
        path,
        byteOffset,
        name: 'w',
        mustBeFinite: false,
      } as const;
      for await (const block of streamTensor(tensor, { files })) expect(block).toEqual(bytes);
      expect(await openFiles()).toBe(before + 1);
    }
    await files.close();
    expect(await openFiles()).toBe(before);
  });
});

describe('finite values', () => {
  const PATTERNS: Readonly<Record<string, { one: string; bad: Readonly<Record<string, string>> }>> = {
    float16: { one: '003c', bad: { '007c': 'Infinity', '00fc': '-Infinity', '017c': 'NaN', ffff: 'NaN' } },
    bfloat16: { one: '803f', bad: { '807f': 'Infinity', '80ff': '-Infinity', '817f': 'NaN', ffff: 'NaN' } },
    float32: { one: '0000803f', bad: { '0000807f': 'Infinity', '000080ff': '-Infinity', '0100807f': 'NaN' } },
    float64: { one: '000000000000f03f', bad: { '000000000000f07f': 'Infinity', '010000000000f0ff': 'NaN' } },
  };

  test.each(Object.entries(PATTERNS))('%s: each bad value is found at each place', async (dtype, { one, bad }) => {
    for (const [pattern, name] of Object.entries(bad))
      for (let place = 0; place < 21; place++) {
        const hex = Array.from({ length: 21 }, (_, i) => (i === place ? pattern : one)).join('');
        const tensor = await fileTensor(dtype as DType, [3, 7], Buffer.from(hex, 'hex'), { mustBeFinite: true });
        const error = await failure(readTensorBytes(tensor));
        const index = `[${Math.floor(place / 7)}, ${place % 7}]`;
        expect(error.message).toContain(`Tensor "${tensor.name}" holds ${name} at ${index}`);
        expect(error).toMatchObject({ code: 'non-finite', hint: expect.stringContaining('--allow-nonfinite') });
      }
  });

  // All finite bit patterns of the 16-bit types, to show that none is refused by mistake.
  test.each([
    ['float16', 0x7c00],
    ['bfloat16', 0x7f80],
  ] as const)('%s: no finite value is refused', async (dtype, infinity) => {
    const finite = Uint16Array.from({ length: 65536 }, (_, bits) => bits).filter((bits) => (bits & 0x7fff) < infinity);
    const tensor = await fileTensor(dtype, [finite.length], bytesOf(finite), { mustBeFinite: true });
    expect((await readTensorBytes(tensor)).length).toBe(2 * infinity * 2);
  });

  test('the largest finite values of the wider types pass', async () => {
    const f32 = bytesOf(Float32Array.of(3.4028234663852886e38, -3.4028234663852886e38, 1e-45, -0, 1));
    await readTensorBytes(await fileTensor('float32', [5], f32, { mustBeFinite: true }));
    const f64 = bytesOf(Float64Array.of(Number.MAX_VALUE, -Number.MAX_VALUE, Number.MIN_VALUE, -0, 1));
    await readTensorBytes(await fileTensor('float64', [5], f64, { mustBeFinite: true }));
  });

  test('are checked under a cast, and the index counts from the tensor, not from the block', async () => {
    const values = new Uint16Array(5 << 20).fill(0x3f80);
    values[(4 << 20) + 9] = 0x7fc0;
    const tensor = await fileTensor('bfloat16', [5, 1 << 20], bytesOf(values), { mustBeFinite: true });
    expect((await failure(readFloats(tensor))).message).toContain('holds NaN at [4, 9]');
  });

  test('are not asked for without mustBeFinite', async () => {
    const tensor = await fileTensor('float32', [2], bytesOf(Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY)));
    expect(await readFloats(tensor)).toEqual(Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY));
  });
});

describe('tensors in memory', () => {
  test('keep their bytes, and readFloats hands out its own', async () => {
    const tensor = float32Tensor([1, 2, 3]);
    const floats = await readFloats(tensor);
    floats[0] = 9;
    expect(await readFloats(tensor)).toEqual(Float32Array.of(1, 2, 3));
    expect(await readTensorBytes(int64Tensor([1n, -1]))).toEqual(bytesOf(BigInt64Array.of(1n, -1n)));
    expect(await readTensorBytes(boolTensor([true, false]))).toEqual(Uint8Array.of(1, 0));
  });

  test('may start anywhere in their memory', async () => {
    const bytes = new Uint8Array(13);
    bytes.set(bytesOf(Float32Array.of(1, 2, 3)), 1);
    const tensor: TensorExpr = { kind: 'bytes', dtype: 'float32', shape: [3], bytes: bytes.subarray(1) };
    expect(await readFloats(tensor)).toEqual(Float32Array.of(1, 2, 3));
    expect(await readFloats(cast(tensor, 'float64'))).toEqual(Float32Array.of(1, 2, 3));
    expect(await readFloats(transpose({ ...tensor, shape: [3, 1] }))).toEqual(Float32Array.of(1, 2, 3));
  });

  test('whose bytes do not fill their shape are a mistake of ours', async () => {
    const tensor: TensorExpr = { kind: 'bytes', dtype: 'float32', shape: [3], bytes: new Uint8Array(8) };
    await expect(readTensorBytes(tensor)).rejects.toThrow(RangeError);
  });
});

describe('casts', () => {
  test('of every pair of float types, through files, several blocks long', async () => {
    // Values with 8 significant bits in float16's range are exact in every type.
    const count = (4 << 20) / 8 + 3;
    const values = Float64Array.from({ length: count }, (_, i) => ((i % 256) - 128) / 64);
    const exact = await fileTensor('float64', [count], bytesOf(values));
    const types = ['float16', 'bfloat16', 'float32', 'float64'] as const;
    for (const from of types) {
      const source = await fileTensor(from, [count], await readTensorBytes(cast(exact, from)));
      for (const to of types) {
        const back = await readTensorBytes(cast(cast(source, to), 'float64'));
        expect([from, to, Buffer.compare(back, bytesOf(values))]).toEqual([from, to, 0]);
      }
    }
  });

  test('of other types are refused by name', async () => {
    const error = await failure(readTensorBytes(cast(int32Tensor([1]), 'float32')));
    expect(error).toMatchObject({ code: 'unsupported', message: expect.stringContaining('int32 to float32') });
  });
});

describe('transposes', () => {
  test('a matrix worked out by hand', async () => {
    expect(await readFloats(transpose(float32Tensor([1, 2, 3, 4, 5, 6], [2, 3])))).toEqual(
      Float32Array.of(1, 4, 2, 5, 3, 6),
    );
  });

  const dtypes = ['uint8', 'bfloat16', 'float32', 'float64', 'int64'] as const;
  test.each(dtypes)('%s: element by element, at sizes around the tile', async (dtype) => {
    const size = DTYPE_BYTES[dtype];
    for (const [rows, columns] of [
      [1, 1],
      [1, 70],
      [70, 1],
      [31, 33],
      [32, 32],
      [33, 65],
      [100, 7],
    ]) {
      const bytes = noise(rows * columns * size);
      const got = await readTensorBytes(transpose(await fileTensor(dtype, [rows, columns], bytes)));
      const wanted = new Uint8Array(bytes.length);
      for (let row = 0; row < rows; row++)
        for (let column = 0; column < columns; column++)
          wanted.set(bytes.subarray((row * columns + column) * size).subarray(0, size), (column * rows + row) * size);
      expect([rows, columns, Buffer.compare(got, wanted)]).toEqual([rows, columns, 0]);
    }
  });

  test('of several blocks: its blocks are whole rows, and transposing the result gives the matrix back', async () => {
    const [rows, columns] = [1500, 2001];
    const bytes = noise(rows * columns * 4);
    const source = await fileTensor('int32', [rows, columns], bytes);
    const blocks = await blocksOf(transpose(source));
    expect(blocks.length).toBeGreaterThan(2);
    for (const block of blocks) {
      expect(block.length % (rows * 4)).toBe(0);
      expect(block.length).toBeLessThanOrEqual(4 << 20);
    }
    const transposed = await fileTensor('int32', [columns, rows], Buffer.concat(blocks));
    expect(Buffer.compare(await readTensorBytes(transpose(transposed)), bytes)).toBe(0);
  });

  test.each([1, 3, 8, 100])('in strips of %i columns, each of which reads the matrix once', async (columns) => {
    const source = noise(20 * 9 * 2);
    const whole = await readTensorBytes(transpose({ kind: 'bytes', dtype: 'int16', shape: [20, 9], bytes: source }));
    let reads = 0;
    const readRows = async function* (elements: number): AsyncGenerator<Uint8Array> {
      reads += 1;
      expect(elements).toBe(18);
      for (let start = 0; start < source.length; start += 36) yield source.slice(start, start + 36);
    };
    const blocks: Uint8Array[] = [];
    for await (const block of transposeBlocks({ dtype: 'int16', shape: [20, 9] }, 26, readRows, 40 * columns + 39))
      blocks.push(block);
    expect(Buffer.compare(Buffer.concat(blocks), whole)).toBe(0);
    expect([blocks.length, reads]).toEqual([9, Math.ceil(9 / Math.min(9, columns))]);
  });

  test('of casts and joins, and joins of transposes', async () => {
    const a = await fileTensor('bfloat16', [2, 2], Buffer.from('803f004040408040', 'hex')); // 1 2 / 3 4
    const b = float32Tensor([5, 6], [1, 2]);
    const joined = concatRows([cast(a, 'float32'), b]);
    expect(await readFloats(joined)).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6));
    expect(await readFloats(transpose(joined))).toEqual(Float32Array.of(1, 3, 5, 2, 4, 6));
    expect(await readFloats(concatRows([transpose(b), transpose(float32Tensor([7, 8], [1, 2]))]))).toEqual(
      Float32Array.of(5, 6, 7, 8),
    );
  });
});

describe('sums', () => {
  test('of bfloat16 and a number are rounded to float32 once, and leave what they are made from alone', async () => {
    // 2^-9 (0x3b00) and 1 need ten bits, two more than bfloat16 has; 1/3 in bfloat16 is 0.333984375.
    const stored = await fileTensor('bfloat16', [3], Buffer.from('003bab3ec0bf', 'hex'));
    expect(await readFloats(addConstant(stored, 1))).toEqual(Float32Array.of(1 + 2 ** -9, 1.333984375, -0.5));
    // 1 + 2^-24 lies between two float32 numbers; the even one is 1.
    const source = float32Tensor([2 ** -24, 3 * 2 ** -24]);
    expect(await readFloats(addConstant(source, 1))).toEqual(Float32Array.of(1, 1 + 2 ** -22));
    expect(await readFloats(source)).toEqual(Float32Array.of(2 ** -24, 3 * 2 ** -24));
  });

  test('keep the check of the weights they are made from', async () => {
    const infinite = await fileTensor('bfloat16', [1], Buffer.from('807f', 'hex'), { mustBeFinite: true });
    await expect(readFloats(addConstant(infinite, 1))).rejects.toMatchObject({ code: 'non-finite' });
  });
});

describe('float16', () => {
  // 65504 is the largest; 65520 and above would become infinite.
  const bytes = (value: number) => Buffer.from(Float32Array.of(1, value).buffer);

  test.each([false, true])('that a weight does not fit into is refused by name, transposed %s', async (turned) => {
    const wide = await fileTensor('float32', [1, 2], bytes(-65520), { mustBeFinite: true });
    const asHalf = cast(turned ? transpose(wide) : wide, 'float16');
    await expect(readTensorBytes(asHalf)).rejects.toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringContaining(`"${wide.name}"`) }),
    );
    expect(Buffer.from(await readTensorBytes(cast({ ...wide, mustBeFinite: false }, 'float16'))).toString('hex')).toBe(
      '003c00fc',
    );
  });

  test('takes the largest', async () => {
    const most = await fileTensor('float32', [1, 2], bytes(65519), { mustBeFinite: true });
    expect(Buffer.from(await readTensorBytes(cast(most, 'float16'))).toString('hex')).toBe('003cff7b');
  });
});

/** The meaning of an expression, element by element, from its definition. It is the oracle of the property below. */
function meaning(expr: TensorExpr, values: ReadonlyMap<TensorExpr, Float32Array>): Float32Array {
  switch (expr.kind) {
    case 'file':
    case 'ggml':
    case 'bytes':
      return values.get(expr) ?? new Float32Array(0);
    case 'waves': {
      const { shape, frequencies, wave, scale } = expr;
      const angle = (i: number) => Math.fround(Math.floor(i / shape[1]) * frequencies[i % shape[1]]);
      return Float32Array.from({ length: elementCount(shape) }, (_, i) => Math.fround(Math[wave](angle(i))) * scale);
    }
    case 'cast':
      return meaning(expr.from, values);
    case 'add':
      return meaning(expr.from, values).map((addend) => addend + expr.value);
    case 'multiply':
      return meaning(expr.from, values).map((factor) => factor * expr.value);
    case 'concat':
      return Float32Array.from(expr.parts.flatMap((part) => [...meaning(part, values)]));
    case 'transpose': {
      const from = meaning(expr.from, values);
      const [rows, columns] = expr.from.shape;
      return from.map((_, i) => from[(i % rows) * columns + Math.floor(i / rows)]);
    }
    case 'quantize':
    case 'records':
      throw new Error('Nothing is computed from quantised tensors');
    case 'regroup': {
      const from = meaning(expr.from, values);
      const [rows, width] = expr.shape;
      const [groupRows, height] = [rows / expr.groups, rows / expr.groups / expr.columns];
      return from.map((_, i) => {
        const row = Math.floor(i / width);
        const inGroup = row % groupRows;
        const source = row - inGroup + (inGroup % height) * expr.columns + Math.floor(inGroup / height);
        return from[source * width + (i % width)];
      });
    }
    case 'rows': {
      const from = meaning(expr.from, values);
      const width = expr.shape[1];
      return Float32Array.from(expr.rows.flatMap((row) => [...from.subarray(row * width, (row + 1) * width)]));
    }
    case 'low-rank': {
      const [from, left, right] = [expr.from, expr.left, expr.right].map((part) => meaning(part, values));
      const [columns, rank] = [expr.shape[1], expr.left.shape[1]];
      const term = (i: number, k: number) =>
        left[Math.floor(i / columns) * rank + k] * right[k * columns + (i % columns)];
      return from.map(
        (value, i) => value + expr.scale * Array.from({ length: rank }, (_, k) => term(i, k)).reduce((a, b) => a + b),
      );
    }
  }
}

test('any tree of operations means what its definition says', async () => {
  const step = fc.constantFrom('cast', 'transpose', 'double', 'file', 'add', 'multiply', 'regroup', 'rows', 'low-rank');
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 9 }),
      fc.array(step, { maxLength: 5 }),
      async (rows, columns, steps) => {
        // Small whole numbers are exact in every float type.
        const values = Float32Array.from({ length: rows * columns }, (_, i) => i);
        let expr: TensorExpr = float32Tensor(values, [rows, columns]);
        const leaves = new Map<TensorExpr, Float32Array>([[expr, values]]);
        for (const [i, name] of steps.entries()) {
          if (name === 'cast') expr = cast(expr, (['bfloat16', 'float64', 'float16', 'float32'] as const)[i % 4]);
          else if (name === 'add') expr = addConstant(expr, 1);
          else if (name === 'multiply') expr = multiplyConstant(expr, 0.5);
          else if (name === 'transpose') expr = transpose(expr);
          else if (name === 'double') expr = concatRows([expr, expr]);
          else if (name === 'regroup') expr = regroupRows(concatRows([expr, expr, expr, expr]), 2, 2);
          else if (name === 'rows')
            expr = selectRows(
              expr,
              [...Array(expr.shape[0]).keys()].filter((row) => row % 3 !== 1),
            );
          else if (name === 'low-rank') {
            const factor = (height: number, width: number) => {
              const whole = Float32Array.from({ length: height * width }, (_, k) => (k % 3) - 1);
              const tensor = float32Tensor(whole, [height, width]);
              leaves.set(tensor, whole);
              return tensor;
            };
            expr = addLowRank(expr, factor(expr.shape[0], 2), factor(2, expr.shape[1]), 2);
          } else {
            const known = meaning(expr, leaves);
            expr = await fileTensor(expr.dtype, expr.shape, await readTensorBytes(expr), {
              before: i,
              mustBeFinite: true,
            });
            leaves.set(expr, known);
          }
        }
        expect((await readTensorBytes(expr)).length).toBe(byteLength(expr.dtype, expr.shape));
        expect(await readFloats(expr)).toEqual(meaning(expr, leaves));
      },
    ),
    { seed: 1, numRuns: 200 },
  );
});

describe('records', () => {
  test('have the bytes of a row of each part, then zeros', async () => {
    const codes: TensorExpr = {
      kind: 'bytes',
      dtype: 'uint8',
      shape: [2, 1, 3],
      bytes: Uint8Array.of(1, 2, 3, 4, 5, 6),
    };
    const joined = await readTensorBytes(records(2, [codes, float32Tensor([1, -2])], 8));
    expect([...joined]).toEqual([1, 2, 3, 0, 0, 0x80, 0x3f, 0, 4, 5, 6, 0, 0, 0, 0xc0, 0]);
  });

  test('refuse parts that are not as many rows', () => {
    expect(() => records(3, [float32Tensor([1, 2, 3, 4], [2, 2])], 1)).toThrow('float32 [2,2] is no 3 rows');
  });

  const scheme = { bits: 4, blockSize: 32, symmetric: true, method: 'search' } as const;
  const matrix = (rows: number, columns: number) =>
    float32Tensor(
      Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * i)),
      [rows, columns],
    );

  // The codes of the last take more than a block.
  test.each([
    [1, 1, 70],
    [5, 33, 32],
    [3000, 700, 40],
  ])('of %i rows of two quantised matrices are what these are by themselves', async (rows, first, second) => {
    const parts = [matrix(rows, first), matrix(rows, second)].flatMap((floats) => {
      const { codes, scales } = quantize(floats, scheme);
      return [codes, scales];
    });
    const expr = records(rows, parts, 64);
    const joined = await readTensorBytes(expr);
    expect(joined.length).toBe(byteLength(expr.dtype, expr.shape));
    let at = 0;
    for (const part of parts) {
      const alone = await readTensorBytes(part);
      const size = alone.length / rows;
      for (const row of [0, rows >> 1, rows - 1]) {
        const start = row * expr.shape[1] + at;
        expect(Buffer.compare(joined.subarray(start, start + size), alone.subarray(row * size, (row + 1) * size))).toBe(
          0,
        );
      }
      at += size;
    }
  });

  test('close their files when they are broken off, and when one is missing', async () => {
    const file = await fileTensor('float32', [4, 2], new Uint8Array(32));
    const gone = { ...file, path: `${file.path}.gone` };
    const before = await openFiles();
    for await (const _ of streamTensor(records(4, [file, file], 1))) {
      expect(await openFiles()).toBe(before + 1);
      break;
    }
    expect(await openFiles()).toBe(before);
    const missing = async () => {
      for await (const _ of streamTensor(records(4, [file, gone], 1)));
    };
    await expect(missing()).rejects.toThrow(expect.objectContaining({ code: 'not-found' }));
    expect(await openFiles()).toBe(before);
  });
});

test.each(['cos', 'sin'] as const)('a table of %s is computed a block of rows at a time', async (wave) => {
  // More than a block, with rows such that a block holds no whole number of them.
  const expr = waves(wave, 100_000, [1, Math.fround(0.1), 0], Math.fround(1.3));
  const blocks: number[] = [];
  for await (const block of streamTensor(expr)) blocks.push(block.length);
  expect(blocks.length).toBeGreaterThan(1);
  expect(Buffer.compare(bytesOf(await readFloats(expr)), bytesOf(meaning(expr, new Map())))).toBe(0);
});
