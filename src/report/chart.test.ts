import { describe, expect, it } from 'vitest';
import { type Chart, chartFigure, frame, labelled, logSpan, roundSpan, STILL } from './chart.ts';
import { FIRST } from './theme.ts';

const chart: Chart = {
  id: 'some',
  title: 'Some <figures>',
  description: 'One after the other.',
  option: {
    ...frame({ x: { min: 0, max: 2 }, y: { min: 0, max: 4 } }),
    series: [
      {
        ...STILL,
        type: 'line',
        data: [
          [0, 1],
          [2, 3],
        ],
        areaStyle: { color: FIRST },
        lineStyle: { color: FIRST },
        label: labelled('</svg><script>', 'top'),
      },
    ],
  },
  table: { header: ['x', 'y'], rows: [['0', '1']] },
};

describe('a chart', () => {
  const { markup } = chartFigure(chart);

  it('is an image with a title, a description and its numbers', () => {
    expect(markup).toContain('<title id="some-title">Some &lt;figures&gt;</title>');
    expect(markup).toContain('aria-labelledby="some-title some-about"');
    expect(markup).toMatch(/<details><summary>The numbers<\/summary>.*<td class="number">0<\/td>/s);
    expect(markup).toContain(`stroke="${FIRST}"`);
  });

  it('has no style, class, script or name that the style sheet and the policy of a page do not know', () => {
    const drawing = markup.slice(markup.indexOf('</desc>'), markup.indexOf('<details>'));
    expect(drawing).toContain('<path');
    expect(drawing).not.toMatch(/style=|class=|<style|ecmeta|pointer-events|zr\d/);
    expect(drawing).toContain('&lt;/svg&gt;&lt;script&gt;');
  });

  it('is the same when it is drawn again', () => {
    expect(chartFigure(chart).markup).toBe(markup);
    // Its clip paths are named by it, so two charts of a page do not share them.
    expect(markup).toContain('id="some-clip-0"');
    expect(chartFigure({ ...chart, id: 'other' }).markup).toContain('url(#other-clip-0)');
  });
});

describe('an axis', () => {
  it.each([
    [0, 1, 4, { min: 0, max: 1, interval: 0.25 }],
    [0.83, 1.39, 4, { min: 0.8, max: 1.4, interval: 0.2 }],
    [73.2, 75.9, 4, { min: 73, max: 76, interval: 1 }],
    [5, 5, 4, { min: 4, max: 6, interval: 2 }],
  ])('from %d to %d has round borders', (least, most, steps, wanted) => {
    const { min, max, interval } = roundSpan(least, most, steps);
    expect(interval).toBeCloseTo(wanted.interval, 9);
    expect([min, max].map((value) => value / interval)).toEqual(
      [min, max].map((value) => Math.round(value / interval)),
    );
    expect(min).toBeLessThanOrEqual(least);
    expect(max).toBeGreaterThanOrEqual(most);
  });

  it('of a logarithm ends at powers of its base', () => {
    expect(logSpan(5, 90)).toEqual({ isLog: true, logBase: 2, min: 4, max: 128 });
    expect(logSpan(0.01, 3)).toEqual({ isLog: true, logBase: 4, min: 4 ** -4, max: 4 });
  });
});
