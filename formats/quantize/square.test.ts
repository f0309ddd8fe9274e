/** A matrix in square blocks and its transpose hold the same numbers, however they are made. */
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { type BlockScheme, float32Tensor, type QuantizedMatrix, quantizeSquare } from '../../src/core/tensor.ts';
import { float16Numbers } from '../../test/float16.ts';
import { seededFloats } from '../../test/random.ts';
import { readTensorBytes } from '../tensor/index.ts';
import { factorGram, roundCompensated } from './index.ts';

const BLOCK = 16;
const scheme = (bits: 4 | 8): BlockScheme => ({ bits, blockSize: BLOCK, symmetric: true, method: 'search' });

/** [rows, columns], by the plainest reading of the format. */
async function numbers(matrix: QuantizedMatrix, rows: number, columns: number, bits: 4 | 8): Promise<number[][]> {
  const codes = await readTensorBytes(matrix.codes);
  const scales = float16Numbers(await readTensorBytes(matrix.scales));
  const blocks = Math.ceil(columns / BLOCK);
  const codeAt = (index: number) => {
    if (bits === 8) return codes[index];
    return index % 2 === 0 ? codes[index >> 1] & 15 : codes[index >> 1] >> 4;
  };
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) => {
      const scale = scales[row * blocks + Math.floor(column / BLOCK)];
      return scale * (codeAt(row * blocks * BLOCK + column) - 2 ** (bits - 1));
    }),
  );
}

const turned = (matrix: readonly number[][]) => matrix[0].map((_, column) => matrix.map((row) => row[column]));

describe('square blocks', () => {
  const sizes = fc.record({
    rows: fc.integer({ min: 1, max: 50 }),
    columns: fc.integer({ min: 1, max: 50 }),
    bits: fc.constantFrom(4 as const, 8 as const),
    seed: fc.integer({ min: 0, max: 1000 }),
  });

  test('of a matrix and of its transpose are the same numbers, within half a step of the floats', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, async ({ rows, columns, bits, seed }) => {
        const values = seededFloats(seed)(rows * columns);
        const square = quantizeSquare(float32Tensor(values, [rows, columns]), { ...scheme(bits), method: 'nearest' });
        const stored = await numbers(square, rows, columns, bits);
        expect(await numbers(square.turned, columns, rows, bits)).toEqual(turned(stored));
        for (let row = 0; row < rows; row++)
          for (let column = 0; column < columns; column++) {
            const peak = largest(values, rows, columns, row, column);
            // The range fills the codes, so a step is at most the peak over the codes of one sign, rounded up to float16.
            const step = (peak / (2 ** (bits - 1) - 1)) * (1 + 2 ** -10);
            expect(Math.abs(stored[row][column] - values[row * columns + column])).toBeLessThanOrEqual(step / 2 + 1e-9);
          }
      }),
      { seed: 5, numRuns: 60 },
    );
  });

  /** The largest magnitude in the block that an element is in. */
  function largest(values: Float32Array, rows: number, columns: number, row: number, column: number): number {
    const [firstRow, firstColumn] = [row, column].map((at) => Math.floor(at / BLOCK) * BLOCK);
    let peak = 0;
    for (let i = firstRow; i < Math.min(rows, firstRow + BLOCK); i++)
      for (let j = firstColumn; j < Math.min(columns, firstColumn + BLOCK); j++)
        peak = Math.max(peak, Math.abs(values[i * columns + j]));
    return peak;
  }

  it.each([4, 8] as const)(
    'rounded by texts in %d bits: a matrix and its transpose are the same numbers',
    async (bits) => {
      const [rows, columns] = [24, 40];
      const values = seededFloats(7)(rows * columns);
      const gram = new Float32Array(columns * columns);
      for (let i = 0; i < columns; i++) for (let j = 0; j < columns; j++) gram[i * columns + j] = i === j ? 2 : 0.5;
      const multiply = async (a: Float32Array, b: Float32Array, { m, k, n }: { m: number; k: number; n: number }) => {
        const product = new Float32Array(m * n);
        for (let i = 0; i < m; i++)
          for (let l = 0; l < k; l++) for (let j = 0; j < n; j++) product[i * n + j] += a[i * k + l] * b[l * n + j];
        return product;
      };
      const factor = await factorGram(gram, columns, multiply);
      const rounded = await roundCompensated(values, { ...scheme(bits), square: true }, factor, multiply);
      if (rounded.turned === undefined) throw new Error('no transpose');
      const stored = await numbers(rounded, rows, columns, bits);
      expect(await numbers({ ...rounded.turned, zeroPoints: undefined }, columns, rows, bits)).toEqual(turned(stored));
      const plain = await roundCompensated(values, scheme(bits), factor, multiply);
      expect(plain.turned).toBeUndefined();
      expect(plain.scales.bytes).not.toEqual(rounded.scales.bytes);
    },
  );
});
