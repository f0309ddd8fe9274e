import { expect, test } from 'vitest';
import { withinTime } from './within-time.ts';

test('what ends gives its result or its error', () => {
  expect(withinTime(5000, 'it', () => [1])).toEqual([1]);
  const error = new TypeError('own');
  expect(() =>
    withinTime(5000, 'it', () => {
      throw error;
    }),
  ).toThrow(error);
});

test.each([
  [
    'a loop',
    () => {
      for (;;);
    },
  ],
  ['a regular expression', () => /^(a+)+$/.test(`${'a'.repeat(50)}!`)],
])('%s without an end is ended, and named', (_, action) => {
  expect(() => withinTime(20, 'The tokenizer x', action)).toThrow(
    expect.objectContaining({ code: 'unsupported', message: 'The tokenizer x has not ended after 0.02 s' }),
  );
});
