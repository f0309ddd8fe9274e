import { describe, expect, it } from 'vitest';
import type { BuildComparison } from '../index.ts';
import { readText, saturationText, sparkline } from './profile.ts';

describe('a sparkline', () => {
  it.each([
    [[0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 8], '▁▂▃▄▅▆▇██', '_.-=+*#@@'],
    // What is beyond the range has the bar of its end.
    [[-5, 0, 1, 9], [0, 1], '▁▁██', '__@@'],
    // All alike.
    [[3, 3], [3, 3], '▁▁', '__'],
  ] as const)('of %j in %j', (values, range, unicode, ascii) => {
    expect(sparkline(values, range, true)).toBe(unicode);
    expect(sparkline(values, range, false)).toBe(ascii);
  });
});

const comparison = (cosines: readonly number[], warnings: readonly string[] = [], saturated = { start: 1, end: 3 }) =>
  ({
    summary: {
      layers: cosines.map((meanCosine, layer) => ({ layer, meanCosine })),
      saturated: { ...saturated, spearman: null },
      warnings,
    },
    targets: [
      { target: 0.5, problem: undefined, layers: cosines.map((_, layer) => (layer === 0 ? 1 : 0.5)) },
      { target: 0.9, problem: { code: 'usage', message: 'Too much' }, layers: [] },
    ],
  }) as unknown as BuildComparison;

describe('what was measured by layer', () => {
  it('is scaled between the ends, which differ from all others', () => {
    expect(
      saturationText(comparison([-1, 0.5, 0.75, 1, 0], ['few layers']), false)
        .split('\n')
        .slice(1),
    ).toEqual([
      '     0 __+@_',
      '       from 0.500 to 1.000 between the ends; most saturated: layers 1 to 2',
      'warning: few layers',
    ]);
  });

  it('names no layers between the ends where there are none', () => {
    expect(saturationText(comparison([0.5, 1], [], { start: 1, end: 1 }), false).split('\n')[2]).toBe(
      '       from 0.500 to 1.000 between the ends',
    );
  });

  it('takes a line for 64 layers', () => {
    const lines = saturationText(comparison(Array.from({ length: 80 }, (_, layer) => layer)), true).split('\n');
    expect(lines.slice(1, 3).map((line) => line.length)).toEqual([7 + 64, 7 + 16]);
    expect(lines[2]).toMatch(/^ {4}64 /);
  });

  it('is followed by what a target reads, and by why others have no plan', () => {
    expect(
      readText(comparison([0, 0, 0]), 0.5, false)
        .split('\n')
        .slice(1),
    ).toEqual(['     0 @++', 'No plan for 90 %: Too much']);
    expect(readText(comparison([0, 0, 0]), 0.9, false)).toBe('No plan for 90 %: Too much');
  });
});
