import { describe, expect, it } from 'vitest';
import { foldedTable, table, wrap } from './table.ts';

describe('table', () => {
  it('puts numbers to the right, with their units, and text to the left', () => {
    const rows = [
      ['a', '9.5 %', '314.6 kB', 'x'],
      ['bc', '-', '1 B', '10'],
    ];
    expect(table(['name', 'share', 'bytes', 'mixed'], rows).split('\n')).toEqual([
      'name  share     bytes  mixed',
      '----  -----  --------  -----',
      'a     9.5 %  314.6 kB  x',
      'bc        -       1 B  10',
    ]);
  });

  it('shows the header of no rows', () => {
    expect(table(['a', 'b'], [])).toBe('a  b\n-  -');
  });
});

describe('foldedTable', () => {
  const header = ['layer', 'aaaa', 'bbbb', 'cccc', 'dddd'];
  const rows = [['0', '1', '2', '3', '4']];

  it.each([
    // 5 + 4 * (2 + 4) = 29 characters hold all, 17 hold two columns beside the first, 11 one.
    [29, [[1, 2, 3, 4]]],
    [
      28,
      [
        [1, 2],
        [3, 4],
      ],
    ],
    [
      17,
      [
        [1, 2],
        [3, 4],
      ],
    ],
    [16, [[1], [2], [3], [4]]],
    // Nothing fits: one column a fold is the least.
    [3, [[1], [2], [3], [4]]],
  ])('in %i characters has the columns %j beside the first', (width, folds) => {
    const shown = foldedTable(header, rows, width)
      .split('\n\n')
      .map((part) => part.split('\n')[0].trim().split(/ +/));
    expect(shown).toEqual(folds.map((columns) => ['layer', ...columns.map((column) => header[column])]));
  });
});

describe('wrap', () => {
  it.each([
    ['a bb ccc', 4, 'a bb\n  ccc'],
    ['a bb ccc', 8, 'a bb ccc'],
    ['toolongword x', 4, 'toolongword\n  x'],
    ['', 4, ''],
  ])('%j in %i', (text, width, wanted) => {
    expect(wrap(text, width, '  ')).toBe(wanted);
  });
});
