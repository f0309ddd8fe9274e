import { expect, it } from 'vitest';
import { floatAbove, floatBelow } from './next-float.ts';

it.each([
  [1, 1 - 2 ** -24],
  [2 ** -126, 2 ** -126 - 2 ** -149],
  [2 ** -149, 0],
  [Math.fround(0.01), Math.fround(0.01) - 2 ** -30],
])('below %d is %d, and above that is %d again', (above, below) => {
  expect(floatBelow(above)).toBe(below);
  expect(floatAbove(below)).toBe(above);
});

it('-0 is 0', () => {
  expect(floatAbove(-0)).toBe(2 ** -149);
});
