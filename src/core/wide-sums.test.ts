/** Wide sums read back, on numbers that a reader can add up. */
import { expect, it } from 'vitest';
import { fillSymmetric, triangleSize, wideValues } from './wide-sums.ts';

const COARSE = 2 ** 16;

it('adds the two parts of each sum', () => {
  expect([...wideValues(Float64Array.of(COARSE, 0, -COARSE, 1.5, -2, 3))]).toEqual([COARSE + 1.5, -2, 3 - COARSE]);
});

it('counts the entries of a triangle, its diagonal included', () => {
  expect([0, 1, 2, 3, 4].map(triangleSize)).toEqual([0, 1, 3, 6, 10]);
});

it('turns the rows of a triangle into the whole matrix, in the type that is given', () => {
  // 1; 2, 3; 4, 5, 6 and 2^16 more where the first part says so.
  const sums = Float64Array.of(0, 0, COARSE, 0, 0, -COARSE, 1, 2, 3, 4, 5, 6 + 2 ** -24);
  const matrix = [1, 2, 4, 2, 3 + COARSE, 5, 4, 5, 6 + 2 ** -24 - COARSE];
  expect([...fillSymmetric(new Float64Array(9), sums, 3)]).toEqual(matrix);
  expect(fillSymmetric(new Float32Array(9), sums, 3)).toEqual(Float32Array.from(matrix));
});
