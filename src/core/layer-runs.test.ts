import { describe, expect, it } from 'vitest';
import { parseRuns, runsText } from './layer-runs.ts';

describe('runsText', () => {
  it.each([
    [[], ''],
    [[3], '3'],
    [[0, 1], '0-1'],
    [[0, 1, 2, 4, 6, 7], '0-2, 4, 6-7'],
  ])('%j', (numbers, text) => {
    expect(runsText(numbers)).toBe(text);
  });
});

describe('parseRuns', () => {
  it.each([
    ['3', [3]],
    ['0-2, 4,6-7', [0, 1, 2, 4, 6, 7]],
    ['7, 6 - 8, 7', [6, 7, 8]],
    ['', undefined],
    ['1,', undefined],
    ['5-3', undefined],
    ['-1', undefined],
    ['0-99999999999', undefined],
    ['all', undefined],
  ])('%j', (text, numbers) => {
    expect(parseRuns(text)).toEqual(numbers);
  });

  it('reads what runsText writes', () => {
    expect(parseRuns(runsText([0, 1, 2, 5, 9], ','))).toEqual([0, 1, 2, 5, 9]);
  });
});
