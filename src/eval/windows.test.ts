import { describe, expect, it } from 'vitest';
import { cutWindows } from './windows.ts';

const tokens = Array.from({ length: 11 }, (_, index) => index);

describe('cutWindows', () => {
  it('cuts windows that do not overlap and drops the rest', () => {
    expect(cutWindows(tokens, { length: 4 })).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
    ]);
  });

  it('starts each with BOS, which takes the place of a text token', () => {
    expect(cutWindows(tokens, { length: 4, bosTokenId: 99 })).toEqual([
      [99, 0, 1, 2],
      [99, 3, 4, 5],
      [99, 6, 7, 8],
    ]);
  });

  it('has windows of 512 by default', () => {
    const windows = cutWindows(new Array<number>(1600).fill(1), { bosTokenId: 2 });
    expect(windows.map((window) => window.length)).toEqual([512, 512, 512]);
  });

  it('refuses a text shorter than a window, and windows with nothing to score', () => {
    expect(() => cutWindows(tokens, { length: 12 })).toThrow(
      expect.objectContaining({
        code: 'usage',
        message: expect.stringContaining('at least 12 tokens, one window, but it has 11'),
      }),
    );
    expect(cutWindows(tokens, { length: 12, bosTokenId: 0 })).toHaveLength(1);
    for (const length of [3, 4.5])
      expect(() => cutWindows(tokens, { length })).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});
