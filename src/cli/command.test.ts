import { expect, test } from 'vitest';
import { printedJson } from './command.ts';

test('JSON on a terminal steers nothing, and reads back as it was', () => {
  const value = { '\u009b31m': 'a\u0085b\u202ec\n', plain: ['é', '\u007f', '\u2028'] };
  const text = printedJson(value);
  expect(JSON.parse(text)).toEqual(value);
  expect(text).toContain('"\\u009b31m": "a\\u0085b\\u202ec\\n"');
  expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/u);
});
