import { describe, expect, it } from 'vitest';
import { foldedTable, proseTable, table, wrap, wrapText } from './table.ts';

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

  it('is as wide as a terminal may be, and as long as it must be', () => {
    const rows = Array.from({ length: 200_000 }, (_, i) => [i === 7 ? 'x'.repeat(100_000) : 'x']);
    const lines = table(['name'], rows).split('\n');
    expect(lines.length).toBe(200_002);
    expect(lines.every((line) => line.length < 400)).toBe(true);
  });

  it('shows the header of no rows', () => {
    expect(table(['a', 'b'], [])).toBe('a  b\n-  -');
  });
});

describe('foldedTable', () => {
  const header = ['layer', 'aaaa', 'bbbb', 'cccc', 'dddd'];
  const rows = [['0', '1', '2', '3', '4']];

  it.each([
    // 5 + 4 * (2 + 4) = 29 characters hold all columns, 17 hold two beside the first, 11 hold one.
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
    // Nothing fits: a fold has at least one column.
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
    // What follows a line is as far in as what is wrapped.
    ['a bb\nccc dd e', 8, 'a bb\n  ccc dd\n  e'],
    ['a\n  bb ccc d', 8, 'a\n  bb ccc\n  d'],
    ['  a bb c', 6, '  a bb\n  c'],
  ])('%j in %i', (text, width, wanted) => {
    expect(wrap(text, width, '  ')).toBe(wanted);
  });
});

describe('proseTable', () => {
  it('goes on with the last column in rows of its own', () => {
    const rows = [
      ['a', 'one two three four five six'],
      ['b', 'seven'],
    ];
    expect(proseTable(['name', 'reason'], rows, 26).split('\n')).toEqual([
      'name  reason',
      '----  ------------------',
      'a     one two three four',
      '      five six',
      'b     seven',
    ]);
  });
});

describe('wrapText', () => {
  it('indents what goes on, and leaves short lines and rows of tables alone', () => {
    const text = 'a long line of words\n  an indented one of them\nshort\nname                 12.5 %';
    expect(wrapText(text, 14).split('\n')).toEqual([
      'a long line of',
      '  words',
      '  an indented',
      '    one of',
      '    them',
      'short',
      'name                 12.5 %',
    ]);
  });

  it('keeps commands and what was typed in one piece', () => {
    const text = 'Nothing at /my models/x. Convert it first: lacuna convert A -o B; then run it';
    expect(wrapText(text, 24, ['/my models/x']).split('\n')).toEqual([
      'Nothing at /my models/x.',
      '  Convert it first:',
      '  lacuna convert A -o B;',
      '  then run it',
    ]);
  });
});
