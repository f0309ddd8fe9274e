import { expect, it } from 'vitest';
import { LacunaError } from './errors.ts';
import { shown, visible } from './shown.ts';

it('leaves what people write as it is', () => {
  const text = 'Kein Ort: "/tmp/größe/模型"\n\t- 1 of 2 👍🏽';
  expect(shown(text)).toBe(text);
});

it.each([
  ['\u001b[31mred\u0007', '\\x1b[31mred\\x07'],
  ['over\rwritten', 'over\\x0dwritten'],
  ['\u009b2J', '\\x9b2J'],
  ['\u202efdp.exe', '\\u202efdp.exe'],
  ['a\u2028b', 'a\\u2028b'],
  ['nul\0', 'nul\\x00'],
])('writes out what steers a terminal: %j', (text, wanted) => {
  expect(visible(text)).toBe(wanted);
});

it('cuts a long word in its middle, and keeps what is said around it', () => {
  const text = shown(`tensor "${'x'.repeat(10_000_000)}" has the dtype "F32"`);
  expect(text).toMatch(/^tensor "x{199}\[… 9999702 characters …\]x{99}" has the dtype "F32"$/);
});

it('cuts a long text in its middle', () => {
  const text = shown(`first ${'word '.repeat(100_000)}last`);
  expect(text.length).toBeLessThan(10_050);
  expect(text).toMatch(/^first word .*\[… \d+ characters …\].* word last$/);
});

it('is how errors say everything, hints included', () => {
  const hostile = `\u001b]0;title\u0007${'y'.repeat(1_000_000)}`;
  const error = new LacunaError('bad-file', `It holds ${hostile}.`, { hint: `Remove ${hostile}.` });
  for (const text of [error.message, error.hint ?? '', error.stack ?? '']) {
    expect(text.length).toBeLessThan(5000);
    expect(text).not.toContain('\u001b');
    expect(text).not.toContain('\u0007');
    expect(text).toContain('\\x1b]0;title\\x07');
  }
});
