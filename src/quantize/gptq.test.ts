/**
 * Rounding with compensation: compared with the plainest code of the paper, and with its purpose, errors that cost
 * less.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { float16Numbers } from '../../test/float16.ts';
import { seededFloats } from '../../test/random.ts';
import type { Multiply } from '../core/runner.ts';
import type { BlockScheme } from '../core/tensor.ts';
import { factorGram, type RoundedMatrix, roundCompensated } from './index.ts';

const multiply: Multiply = async (a, b, { m, k, n }) => {
  const product = new Float32Array(m * n);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let l = 0; l < k; l++) sum += a[i * k + l] * b[l * n + j];
      product[i * n + j] = sum;
    }
  return product;
};

/** xᵀ x of `tokens` rows. Each column but the first is similar to the one before it. */
function gramOf(columns: number, tokens: number, seed: number): Float32Array {
  const x = seededFloats(seed)(tokens * columns);
  for (let i = 0; i < x.length; i++) if (i % columns > 0) x[i] = 0.8 * x[i - 1] + 0.2 * x[i];
  const gram = new Float32Array(columns * columns);
  for (let token = 0; token < tokens; token++)
    for (let i = 0; i < columns; i++)
      for (let j = 0; j < columns; j++) gram[i * columns + j] += x[token * columns + i] * x[token * columns + j];
  return gram;
}

/** H with 5 % of its mean diagonal added, in float64. */
function damped(gram: Float32Array, columns: number): number[][] {
  const mean = Array.from({ length: columns }, (_, i) => gram[i * columns + i]).reduce((a, b) => a + b, 0) / columns;
  return Array.from({ length: columns }, (_, i) =>
    Array.from({ length: columns }, (_, j) => gram[i * columns + j] + (i === j ? 0.05 * mean : 0)),
  );
}

/** As in the paper: the inverse of H. A column of it is eliminated after each rounded column. */
function inverseOf(matrix: readonly (readonly number[])[]): number[][] {
  const size = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...Array.from({ length: size }, (_, j) => (i === j ? 1 : 0))]);
  for (let pivot = 0; pivot < size; pivot++) {
    const factor = 1 / rows[pivot][pivot];
    rows[pivot] = rows[pivot].map((value) => value * factor);
    for (let row = 0; row < size; row++) {
      if (row === pivot) continue;
      const share = rows[row][pivot];
      rows[row] = rows[row].map((value, i) => value - share * rows[pivot][i]);
    }
  }
  return rows.map((row) => row.slice(size));
}

interface Unpacked {
  readonly codes: number[];
  readonly scales: Float32Array;
  readonly zeroPoints: number[];
}

function unpack(rounded: RoundedMatrix, { bits, symmetric }: BlockScheme, blocks: number): Unpacked {
  const nibbles = (bytes: Uint8Array) => [...bytes].flatMap((byte) => (bits === 8 ? [byte] : [byte & 15, byte >> 4]));
  const scales = float16Numbers(rounded.scales.bytes);
  const rows = scales.length / blocks;
  const stored = rounded.zeroPoints === undefined ? [] : nibbles(rounded.zeroPoints.bytes);
  const width = stored.length / rows;
  const zeroPoints = Array.from({ length: rows * blocks }, (_, i) =>
    symmetric ? 2 ** (bits - 1) : stored[Math.floor(i / blocks) * width + (i % blocks)],
  );
  return { codes: nibbles(rounded.codes.bytes), scales, zeroPoints };
}

/** Codes by the paper's own procedure (GPTQ, section 3), one row at a time in float64, in the order of `factor`. */
function byThePaper(row: Float32Array, gram: Float32Array, order: Int32Array, found: Unpacked, scheme: BlockScheme) {
  const columns = row.length;
  const inverse = inverseOf(damped(gram, columns));
  const weights = Float64Array.from(row);
  const codes: number[] = new Array(columns).fill(0);
  const ties: boolean[] = new Array(columns).fill(false);
  for (const q of order) {
    const block = Math.floor(q / scheme.blockSize);
    const [scale, zeroPoint] = [found.scales[block], found.zeroPoints[block]];
    const exact = weights[q] / scale + zeroPoint;
    codes[q] = Math.min(Math.max(Math.floor(exact + 0.5), 0), 2 ** scheme.bits - 1);
    // So near the middle between two codes that float32 may decide otherwise. Everything that follows may then differ.
    ties[q] = Math.abs(exact - Math.floor(exact) - 0.5) < 1e-3;
    const error = (weights[q] - scale * (codes[q] - zeroPoint)) / inverse[q][q];
    const pivot = inverse[q].slice();
    for (let i = 0; i < columns; i++) weights[i] -= error * pivot[i];
    for (let i = 0; i < columns; i++)
      for (let j = 0; j < columns; j++) inverse[i][j] -= (pivot[i] * pivot[j]) / pivot[q];
  }
  return { codes, hasTie: ties.some(Boolean) };
}

const schemes = fc.record({
  kind: fc.constant('blocks' as const),
  bits: fc.constantFrom(4 as const, 8 as const),
  blockSize: fc.constantFrom(16, 32),
  symmetric: fc.boolean(),
  method: fc.constantFrom('nearest' as const, 'search' as const),
});

function costOf(
  values: Float32Array,
  rounded: RoundedMatrix,
  gram: Float32Array,
  columns: number,
  scheme: BlockScheme,
) {
  const blocks = Math.ceil(columns / scheme.blockSize);
  const { codes, scales, zeroPoints } = unpack(rounded, scheme, blocks);
  let cost = 0;
  for (let row = 0; row * columns < values.length; row++) {
    const errors = Array.from({ length: columns }, (_, i) => {
      const block = row * blocks + Math.floor(i / scheme.blockSize);
      const code = codes[row * blocks * scheme.blockSize + i];
      return values[row * columns + i] - scales[block] * (code - zeroPoints[block]);
    });
    for (let i = 0; i < columns; i++)
      for (let j = 0; j < columns; j++) cost += errors[i] * gram[i * columns + j] * errors[j];
  }
  return cost;
}

describe('the factor', () => {
  test('gives the damped matrix back, across panels', async () => {
    // More than two panels. The last one is partly filled.
    const columns = 300;
    const gram = gramOf(columns, 500, 3);
    const { order, upper, diagonal } = await factorGram(gram, columns, multiply);
    expect([...order].sort((a, b) => a - b)).toEqual([...order.keys()]);
    for (let i = 1; i < columns; i++) expect(diagonal[order[i]]).toBeLessThanOrEqual(diagonal[order[i - 1]]);
    const wanted = damped(gram, columns);
    // U D Uᵀ, with D from the last column on: H_ij less the share of later columns is U_ij d_j.
    const scales = new Float64Array(columns);
    let worst = 0;
    for (let j = columns - 1; j >= 0; j--)
      for (let i = j; i >= 0; i--) {
        let sum = 0;
        for (let k = j + 1; k < columns; k++) sum += upper[i * columns + k] * scales[k] * upper[j * columns + k];
        const rest = wanted[order[i]][order[j]] - sum;
        if (i === j) scales[j] = rest;
        worst = Math.max(worst, Math.abs(rest - upper[i * columns + j] * scales[j]));
      }
    // Float32 sums of up to 300 products, each off by 2^-24 of it, in a matrix with largest element `most`.
    const most = Math.max(...diagonal);
    expect(worst).toBeLessThan(300 * 2 ** -24 * most);
    for (let i = 0; i < columns; i++) {
      expect(upper[i * columns + i]).toBe(1);
      expect(upper.subarray(i * columns, i * columns + i).every((value) => value === 0)).toBe(true);
    }
  });

  test('of inputs that were never other than zero is that of no correlations', async () => {
    const { upper } = await factorGram(new Float32Array(16), 4, multiply);
    expect([...upper]).toEqual([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
  });

  test.each([NaN, Infinity])('of %s is refused', async (value) => {
    await expect(factorGram(new Float32Array([1, value, value, 1]), 2, multiply)).rejects.toThrow(/NaN, infinite/);
    await expect(factorGram(new Float32Array([value, 0, 0, 1]), 2, multiply)).rejects.toThrow(/NaN, infinite/);
  });
});

describe('compensated rounding', () => {
  test('gives the codes of the paper', async () => {
    let compared = 0;
    await fc.assert(
      fc.asyncProperty(schemes, fc.integer({ min: 2, max: 70 }), fc.integer(), async (scheme, columns, seed) => {
        const gram = gramOf(columns, 2 * columns, seed);
        const values = seededFloats(seed + 1)(columns);
        const factor = await factorGram(gram, columns, multiply);
        const found = unpack(
          await roundCompensated(values, scheme, factor, multiply),
          scheme,
          Math.ceil(columns / scheme.blockSize),
        );
        const { codes, hasTie } = byThePaper(values, gram, factor.order, found, scheme);
        if (hasTie) return;
        compared += 1;
        expect(found.codes.slice(0, columns)).toEqual(codes);
      }),
      { numRuns: 60 },
    );
    expect(compared).toBeGreaterThan(30);
  });

  test('costs less than rounding each weight by itself, on any inputs that are alike', async () => {
    await fc.assert(
      fc.asyncProperty(schemes, fc.integer(), async (scheme, seed) => {
        const [rows, columns] = [24, 200];
        const gram = gramOf(columns, 800, seed);
        const values = seededFloats(seed + 1)(rows * columns);
        const factor = await factorGram(gram, columns, multiply);
        const none = { ...factor, upper: new Float32Array(factor.upper.length) };
        const compensated = await roundCompensated(values, scheme, factor, multiply);
        const alone = await roundCompensated(values, scheme, none, multiply);
        const cost = costOf(values, compensated, gram, columns, scheme);
        // Neighbours are nearly equal, so most of an error can be compensated.
        expect(cost).toBeLessThan(0.5 * costOf(values, alone, gram, columns, scheme));
      }),
      { numRuns: 12 },
    );
  });

  test('fills a last block that is not whole with codes that stand for zero', async () => {
    const scheme: BlockScheme = { bits: 4, blockSize: 16, symmetric: false, method: 'search' };
    const values = seededFloats(5)(3 * 20);
    const rounded = await roundCompensated(values, scheme, await factorGram(gramOf(20, 50, 5), 20, multiply), multiply);
    const { codes, zeroPoints } = unpack(rounded, scheme, 2);
    for (let row = 0; row < 3; row++)
      expect(codes.slice(row * 32 + 20, row * 32 + 32)).toEqual(new Array(12).fill(zeroPoints[row * 2 + 1]));
  });
});
