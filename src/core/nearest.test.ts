/** Edit distance by known pairs, and the choice among names. */
import { expect, test } from 'vitest';
import { editDistance, nearest } from './nearest.ts';

test.each([
  ['', '', 0],
  ['', 'abc', 3],
  ['abc', '', 3],
  ['kitten', 'sitting', 3], // k -> s, e -> i, + g
  ['llama4', 'llama', 1],
  ['mixtral', 'mistral', 1],
  ['flaw', 'lawn', 2],
])('from %j to %j: %i', (a, b, distance) => {
  expect(editDistance(a, b)).toBe(distance);
});

test('the first of the nearest', () => {
  expect(nearest('mixtral', ['llama', 'mistral'])).toBe('mistral');
  expect(nearest('ab', ['ax', 'xb'])).toBe('ax');
});
