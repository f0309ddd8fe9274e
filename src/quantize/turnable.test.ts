/**
 * A turnable matrix and its transpose hold the same numbers in every way of making them. They are rounded about as well
 * as either alone.
 */
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { float16Numbers } from '../../test/float16.ts';
import { seededFloats } from '../../test/random.ts';
import {
  type BlockScheme,
  float32Tensor,
  type QuantizedMatrix,
  quantize,
  quantizeTurnable,
  transpose,
} from '../core/tensor.ts';
import { readTensorBytes } from '../tensors/index.ts';
import { factorGram, roundTurnable } from './index.ts';

const BLOCK = 16;
const scheme = (bits: 4 | 8): BlockScheme => ({ bits, blockSize: BLOCK, symmetric: true, method: 'search' });

type Numbers = readonly (readonly number[])[];

/** [rows, columns], by the plainest reading of the format. */
async function numbers(matrix: QuantizedMatrix, rows: number, columns: number, bits: 4 | 8): Promise<Numbers> {
  const codes = await readTensorBytes(matrix.codes);
  const scales = float16Numbers(await readTensorBytes(matrix.scales));
  const blocks = Math.ceil(columns / BLOCK);
  const codeAt = (index: number) => {
    if (bits === 8) return codes[index];
    return index % 2 === 0 ? codes[index >> 1] & 15 : codes[index >> 1] >> 4;
  };
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_column, column) => {
      const scale = scales[row * blocks + Math.floor(column / BLOCK)];
      // A zero has no sign.
      return scale * (codeAt(row * blocks * BLOCK + column) - 2 ** (bits - 1)) + 0;
    }),
  );
}

const turned = (matrix: Numbers): Numbers => matrix[0].map((_, column) => matrix.map((row) => row[column]));

/** Columns with sizes that differ by up to eight times, as in trained weights. */
function unevenFloats(rows: number, columns: number, seed: number): Float32Array {
  return seededFloats(seed)(rows * columns).map((value, at) => value * 2 ** ((at % columns) % 4));
}

describe('a turnable matrix', () => {
  const sizes = fc.record({
    rows: fc.integer({ min: 1, max: 50 }),
    columns: fc.integer({ min: 1, max: 50 }),
    bits: fc.constantFrom(4 as const, 8 as const),
    method: fc.constantFrom('nearest' as const, 'search' as const),
    // Down to float16's smallest numbers, where scales have few digits left.
    size: fc.constantFrom(1, 2 ** -12, 2 ** -20, 0),
    seed: fc.integer({ min: 0, max: 1000 }),
  });

  test('and its transpose are the same numbers', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, async ({ rows, columns, bits, method, size, seed }) => {
        const values = unevenFloats(rows, columns, seed).map((value) => value * size);
        const made = quantizeTurnable(float32Tensor(values, [rows, columns]), { ...scheme(bits), method });
        const stored = await numbers(made, rows, columns, 8);
        expect(await numbers(made.turned, columns, rows, bits)).toEqual(turned(stored));
        // Every weight is rounded: none is further off than its block's largest.
        const largest = values.reduce((peak, value) => Math.max(peak, Math.abs(value)), 2 ** -24);
        values.forEach((value, at) => {
          const got = stored[Math.floor(at / columns)][at % columns];
          expect(Math.abs(got - value)).toBeLessThanOrEqual(largest / 2);
        });
      }),
      { seed: 5, numRuns: 100 },
    );
  });

  // In 4 bits a scale is a whole number of units, at most 15. It is off by a thirtieth where columns are alike, by a
  // quarter where a column is an eighth of the largest. In 8 bits, 256 weights share one scale: a column an eighth of
  // the largest is rounded eight times as coarsely.
  it.each([
    [4, 1.2],
    [8, 6],
  ] as const)(
    'in %d bits is nearly as close to the floats as a transpose with scales of its own',
    async (bits, most) => {
      const [rows, columns] = [64, 96];
      const values = unevenFloats(rows, columns, 3);
      const source = float32Tensor(values, [rows, columns]);
      const stored = turned(await numbers(quantizeTurnable(source, scheme(bits)), rows, columns, 8));
      const alone = await numbers(quantize(transpose(source), scheme(bits)), columns, rows, bits);
      const error = (got: Numbers) =>
        values.reduce((sum, value, at) => sum + (value - got[at % columns][Math.floor(at / columns)]) ** 2, 0);
      expect(error(stored) / error(alone)).toBeLessThan(most);
      expect(error(stored)).toBeGreaterThan(0);
    },
  );

  it.each([4, 8] as const)('rounded by texts in %d bits and its transpose are the same numbers', async (bits) => {
    const [rows, columns] = [24, 40];
    const values = unevenFloats(rows, columns, 7);
    const gram = new Float32Array(columns * columns);
    for (let i = 0; i < columns; i++) for (let j = 0; j < columns; j++) gram[i * columns + j] = i === j ? 2 : 0.5;
    const factor = await factorGram(gram, columns, multiply);
    const rounded = await roundTurnable(values, scheme(bits), factor, multiply);
    const stored = await numbers(rounded, rows, columns, 8);
    expect(await numbers(rounded.turned, columns, rows, bits)).toEqual(turned(stored));
    // Errors compensate each other: outputs are off by less than with each weight at its nearest code.
    const source = float32Tensor(values, [rows, columns]);
    const nearest = await numbers(quantizeTurnable(source, scheme(bits)), rows, columns, 8);
    expect(outputError(stored, values)).toBeLessThan(outputError(nearest, values));
  });

  /** eᵀ H e summed over rows, with H as above: 1.5 on the diagonal and 0.5 everywhere else. */
  function outputError(matrix: Numbers, values: Float32Array): number {
    return matrix.reduce((sum, row, i) => {
      const errors = row.map((value, j) => value - values[i * row.length + j]);
      const total = errors.reduce((all, one) => all + one, 0);
      return sum + 1.5 * errors.reduce((all, one) => all + one * one, 0) + 0.5 * total * total;
    }, 0);
  }
});

async function multiply(a: Float32Array, b: Float32Array, { m, k, n }: { m: number; k: number; n: number }) {
  const product = new Float32Array(m * n);
  for (let i = 0; i < m; i++)
    for (let l = 0; l < k; l++) for (let j = 0; j < n; j++) product[i * n + j] += a[i * k + l] * b[l * n + j];
  return product;
}
