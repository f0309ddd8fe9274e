/** Quantised weights against the meaning of the format, read back by the plainest code. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { codeInPlanes } from '../../test/code-planes.ts';
import { float16Numbers } from '../../test/float16.ts';
import { seededFloats } from '../../test/random.ts';
import {
  type BlockScheme,
  float32Tensor,
  type QuantizedMatrix,
  type QuantizeTensor,
  quantize,
  stackQuantized,
} from '../core/tensor.ts';
import { readTensorBytes, streamTensor } from '../tensors/index.ts';

interface Stored {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeroPoints: Uint8Array | undefined;
}

async function store(matrix: QuantizedMatrix): Promise<Stored> {
  return {
    codes: await readTensorBytes(matrix.codes),
    scales: float16Numbers(await readTensorBytes(matrix.scales)),
    zeroPoints: matrix.zeroPoints && (await readTensorBytes(matrix.zeroPoints)),
  };
}

/** The code at `index` of a row of packed codes. */
function codeAt(bytes: Uint8Array, rowBytes: number, row: number, index: number, bits: number): number {
  if (bits === 8) return bytes[row * rowBytes + index];
  if (bits !== 4) return codeInPlanes(bytes.subarray(row * rowBytes, (row + 1) * rowBytes), index, bits);
  const byte = bytes[row * rowBytes + Math.floor(index / 2)];
  return index % 2 === 0 ? byte & 15 : byte >> 4;
}

interface Element {
  readonly value: number;
  readonly scale: number;
}

/** scale * (code - zero point), element by element, with the scale used. */
function dequantize(stored: Stored, rows: number, columns: number, scheme: BlockScheme): Element[] {
  const { bits, blockSize } = scheme;
  const blocks = Math.ceil(columns / blockSize);
  return Array.from({ length: rows * columns }, (_, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    const block = Math.floor(column / blockSize);
    const code = codeAt(stored.codes, (blocks * blockSize * bits) / 8, row, column, bits);
    const zeroPoint =
      stored.zeroPoints === undefined
        ? 2 ** (bits - 1)
        : bits % 4 === 0
          ? codeAt(stored.zeroPoints, Math.ceil((blocks * bits) / 8), row, block, bits)
          : stored.zeroPoints[row * blocks + block] - 128 + 2 ** (bits - 1);
    const scale = stored.scales[row * blocks + block];
    return { value: scale * (code - zeroPoint), scale };
  });
}

const schemes = fc
  .record({
    symmetric: fc.boolean(),
    bits: fc.constantFrom(4 as const, 5 as const, 6 as const, 8 as const),
    blockSize: fc.constantFrom(16, 32, 64, 128),
  })
  .map(({ bits, blockSize, symmetric }) => ({ bits, symmetric, blockSize: bits % 4 === 0 ? blockSize : 32 }));

const matrices = fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 150 })).chain(([rows, columns]) =>
  fc.record({
    rows: fc.constant(rows),
    columns: fc.constant(columns),
    values: fc.array(
      // From the smallest steps of float16 to nearly the largest number whose seventh float16 can hold.
      fc.oneof(...[2 ** -20, 2, 2 ** 18].map((max) => fc.float({ min: -max, max, noNaN: true }))),
      { minLength: rows * columns, maxLength: rows * columns },
    ),
  }),
);

/** Rounding the scale to float32, 2^-24, moves a code's value by the same relative amount. */
const SCALE_ROUNDING = 2 ** -24;

describe('nearest', () => {
  test('is off by half a step at most', async () => {
    await fc.assert(
      fc.asyncProperty(matrices, schemes, async ({ rows, columns, values }, shape) => {
        const scheme: BlockScheme = { ...shape, method: 'nearest' };
        const stored = await store(quantize(float32Tensor(values, [rows, columns]), scheme));
        for (const [i, { value, scale }] of dequantize(stored, rows, columns, scheme).entries()) {
          const half = Math.abs(scale) / 2 + Math.abs(scale) * 2 ** scheme.bits * SCALE_ROUNDING;
          expect(Math.abs(value - Math.fround(values[i]))).toBeLessThanOrEqual(half);
        }
      }),
    );
  });

  // The smallest possible scale, and one with as many bits as possible.
  test.each([0.25, 2 ** -24, 2047 * 2 ** -20])('gives back what lies on a grid of %s', async (step) => {
    const values = Array.from({ length: 32 }, (_, i) => (((i * 7) % 16) - 8) * step);
    for (const symmetric of [true, false]) {
      const scheme: BlockScheme = { bits: 4, blockSize: 16, symmetric, method: 'nearest' };
      const stored = await store(quantize(float32Tensor(values, [1, 32]), scheme));
      expect(dequantize(stored, 1, 32, scheme).map(({ value }) => value)).toEqual(values);
    }
  });
});

test.each(['nearest', 'search'] as const)('%s refuses weights too large for a float16 scale', async (method) => {
  const scheme: BlockScheme = { bits: 4, blockSize: 16, symmetric: true, method };
  const scalesOf = (largest: number) => readTensorBytes(quantize(float32Tensor([1, largest], [1, 2]), scheme).scales);
  // The lowest code is -8, so the scale is an eighth of the largest value.
  await expect(scalesOf(8 * 65504)).resolves.toBeDefined();
  await expect(scalesOf(8 * 65504 + 1)).rejects.toThrow(expect.objectContaining({ code: 'unsupported' }));
});

function weightedErrors(
  restored: readonly Element[],
  values: ArrayLike<number>,
  importance: ArrayLike<number>,
  columns: number,
  blockSize: number,
): Map<string, number> {
  const errors = new Map<string, number>();
  for (const [i, { value }] of restored.entries()) {
    const column = i % columns;
    const block = `${Math.floor(i / columns)}/${Math.floor(column / blockSize)}`;
    const error = importance[column] * (value - Math.fround(values[i])) ** 2;
    errors.set(block, (errors.get(block) ?? 0) + error);
  }
  return errors;
}

describe('search', () => {
  test('never has a larger weighted error in any block than nearest', async () => {
    const weighted = matrices.chain((matrix) =>
      fc.record({
        matrix: fc.constant(matrix),
        importance: fc.array(fc.float({ min: Math.fround(0.01), max: 100, noNaN: true }), {
          minLength: matrix.columns,
          maxLength: matrix.columns,
        }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(weighted, schemes, async ({ matrix: { rows, columns, values }, importance }, shape) => {
        const errorsOf = async (method: BlockScheme['method']) => {
          const scheme = { ...shape, method };
          const matrix = quantize(float32Tensor(values, [rows, columns]), scheme, float32Tensor(importance));
          const restored = dequantize(await store(matrix), rows, columns, scheme);
          return weightedErrors(restored, values, importance, columns, shape.blockSize);
        };
        const [nearest, search] = [await errorsOf('nearest'), await errorsOf('search')];
        // Sums of up to 128 squares are added in another order than here.
        for (const [block, error] of search)
          expect(error).toBeLessThanOrEqual((nearest.get(block) ?? Number.NaN) * (1 + 1e-12));
      }),
    );
  });

  /** Sums of eight uniform numbers are nearly normal, as trained weights are. */
  const draw = seededFloats(7);
  const normal = Float32Array.from({ length: 64 * 128 }, () => draw(8).reduce((sum, value) => sum + value, 0));

  // An exhaustive search gains 11 % and 20 % over nearest in blocks of 32 of trained weights.
  test.each([
    { symmetric: true, gain: 0.9 },
    { symmetric: false, gain: 0.92 },
  ])('lowers the squared error of normal weights, symmetric $symmetric', async ({ symmetric, gain }) => {
    const total = async (method: BlockScheme['method']) => {
      const scheme: BlockScheme = { bits: 4, blockSize: 32, symmetric, method };
      const restored = dequantize(await store(quantize(float32Tensor(normal, [64, 128]), scheme)), 64, 128, scheme);
      return restored.reduce((sum, { value }, i) => sum + (value - normal[i]) ** 2, 0);
    };
    expect((await total('search')) / (await total('nearest'))).toBeLessThan(gain);
  });

  test('spends its accuracy where errors weigh most', async () => {
    const scheme: BlockScheme = { bits: 4, blockSize: 32, symmetric: true, method: 'search' };
    const importance = Float32Array.from({ length: 128 }, (_, column) => (column % 32 < 8 ? 1000 : 1));
    const errorOf = async (weights?: Float32Array) => {
      const matrix = quantize(float32Tensor(normal, [64, 128]), scheme, weights && float32Tensor(weights));
      const restored = dequantize(await store(matrix), 64, 128, scheme);
      return restored.reduce((sum, { value }, i) => sum + importance[i % 128] * (value - normal[i]) ** 2, 0);
    };
    expect((await errorOf(importance)) / (await errorOf())).toBeLessThan(0.9);
  });
});

test.each([-1, Number.NaN, Infinity])('an importance of %s is refused', async (wrong) => {
  const scheme: BlockScheme = { bits: 4, blockSize: 16, symmetric: true, method: 'search' };
  const matrix = quantize(float32Tensor([1, 2], [1, 2]), scheme, float32Tensor([1, wrong]));
  await expect(readTensorBytes(matrix.scales)).rejects.toThrow(expect.objectContaining({ code: 'bad-file' }));
});

describe('bytes', () => {
  test('of 4 bits are packed low bits first, zero points a row at a time', async () => {
    // Two rows of three blocks: scale 1, range of the codes 0..15 less a zero point of 3, 4 and 5.
    const row = [3, 4, 5].flatMap((zeroPoint) => Array.from({ length: 16 }, (_, code) => code - zeroPoint));
    const scheme: BlockScheme = { bits: 4, blockSize: 16, symmetric: false, method: 'nearest' };
    const matrix = quantize(float32Tensor([...row, ...row], [2, 48]), scheme);
    expect(matrix.codes.shape).toEqual([2, 3, 8]);
    expect(matrix.zeroPoints?.shape).toEqual([4]);
    const { codes, scales, zeroPoints } = await store(matrix);
    expect(Buffer.from(codes).toString('hex')).toBe('1032547698badcfe'.repeat(6));
    expect(scales).toEqual(new Float32Array(6).fill(1));
    expect(Buffer.from(zeroPoints ?? []).toString('hex')).toBe('43854385');
  });

  test('past the last column stand for zero', async () => {
    const scheme: BlockScheme = { bits: 8, blockSize: 16, symmetric: false, method: 'nearest' };
    const { codes, zeroPoints } = await store(quantize(float32Tensor([0, 255, 10], [1, 3]), scheme));
    expect([...codes]).toEqual([0, 255, 10, ...Array<number>(13).fill(0)]);
    expect([...(zeroPoints ?? [])]).toEqual([0]);
  });

  test('of zeros and of the smallest numbers there are', async () => {
    const scheme: BlockScheme = { bits: 4, blockSize: 16, symmetric: true, method: 'search' };
    const values = [...Array<number>(16).fill(0), ...Array<number>(16).fill(2 ** -149)];
    const stored = await store(quantize(float32Tensor(values, [1, 32]), scheme));
    expect([...stored.codes]).toEqual(Array(16).fill(0x88));
    expect(stored.scales.every((scale) => Number.isFinite(1 / scale))).toBe(true);
  });

  test('are the same however the parts are asked for, also over many blocks of rows', async () => {
    const columns = 1500;
    const rows = 1500; // 2.25 million floats: three reads
    const values = seededFloats(3)(rows * columns);
    const scheme: BlockScheme = { bits: 4, blockSize: 128, symmetric: false, method: 'nearest' };
    const matrix = quantize(float32Tensor(values, [rows, columns]), scheme);
    const parts = [matrix.codes, matrix.scales, matrix.zeroPoints as QuantizeTensor];
    const alone = await Promise.all(parts.map((part) => readTensorBytes(part)));
    for (const order of [
      [0, 1, 2],
      [2, 0, 1],
      [1, 2, 0, 0],
    ]) {
      const fits = {};
      for (const part of order) {
        const blocks: Uint8Array[] = [];
        for await (const block of streamTensor(parts[part], { fits })) blocks.push(block);
        expect(Buffer.concat(blocks).equals(alone[part])).toBe(true);
      }
    }
    expect(alone.map((bytes) => bytes.length)).toEqual([1500 * 12 * 64, 1500 * 12 * 2, 1500 * 6]);
  });

  test('in planes: the fifth bits and the sixth, of first and of last columns, then the lower halves', async () => {
    const scheme: BlockScheme = { bits: 6, blockSize: 32, symmetric: true, method: 'nearest' };
    const codes = Array<number>(64).fill(0);
    // The range that makes the scale 1, in columns of their own.
    [codes[2], codes[34]] = [-32, -32];
    [codes[0], codes[17], codes[33]] = [0x21 - 32, 0x1f - 32, 0x3e - 32];
    const bytes = await readTensorBytes(quantize(float32Tensor(codes, [1, 64]), scheme).codes);
    const lower = Array<string>(32).fill('00');
    // Zero is 32, whose lower half is 0.
    [lower[0], lower[1], lower[17]] = ['01', 'f0', '0e'];
    const fifth = ['0000', '0200', '0200', '0000'];
    const sixth = ['fbff', 'fbff', 'fdff', 'ffff'];
    expect(Buffer.from(bytes).toString('hex')).toBe([...fifth, ...sixth, ...lower].join(''));
  });
});

describe('matrices one under the other', () => {
  const scheme: BlockScheme = { bits: 4, blockSize: 32, symmetric: false, method: 'search' };
  const next = seededFloats(11);
  const [above, below] = [3, 5].map((rows) => float32Tensor(next(rows * 70), [rows, 70]));

  test('are rounded as each is by itself', async () => {
    const apart = [above, below].map((matrix) => quantize(matrix, scheme));
    const [first, second, both] = await Promise.all([...apart, stackQuantized(apart)].map(store));
    expect(both.codes).toEqual(Uint8Array.from([...first.codes, ...second.codes]));
    expect(both.scales).toEqual(Float32Array.from([...first.scales, ...second.scales]));
    expect(both.zeroPoints).toEqual(Uint8Array.from([...(first.zeroPoints ?? []), ...(second.zeroPoints ?? [])]));
  });

  test('are refused where they are rounded in several ways', () => {
    const apart = [quantize(above, scheme), quantize(below, { ...scheme, method: 'nearest' })];
    expect(() => stackQuantized(apart)).toThrow('rounded in several ways');
  });
});
