import { expect, it } from 'vitest';
import { speedVerdict } from './speed-verdict.ts';

it.each([
  [0.8, 0.999, 'slower'],
  [0.8, 1, 'not sure to be faster'],
  [1, 1.2, 'not sure to be faster'],
  [1.001, 1.2, 'faster'],
  // One repeat bounds nothing.
  [null, null, 'not sure to be faster'],
])('a speed-up from %d to %d is %s', (lowerBound, upperBound, verdict) => {
  expect(speedVerdict({ lowerBound, upperBound })).toBe(verdict);
});
