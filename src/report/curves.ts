/** Curves over a scale, and the area that those of all layers fill. */
import type { DrawApi } from './cells.ts';
import { markLine, STILL } from './chart.ts';

/** A line through points. `mark`: where a dashed line stands across it. */
export function curveSeries(xs: readonly number[], ys: readonly number[], colour: string, mark?: number): object {
  return {
    ...STILL,
    type: 'line',
    data: ys.map((y, at) => [xs[at], y]),
    symbol: 'none',
    lineStyle: { color: colour, width: 2 },
    z: 3,
    ...(mark !== undefined && { markLine: markLine({ xAxis: mark }) }),
  };
}

/** The area between two curves. */
export function bandSeries(
  xs: readonly number[],
  low: readonly number[],
  high: readonly number[],
  colour: string,
): object {
  const outline = [...low.map((y, at) => [xs[at], y]), ...high.map((y, at) => [xs[at], y]).toReversed()];
  return {
    ...STILL,
    type: 'custom',
    data: [outline[0]],
    renderItem: (_: unknown, api: DrawApi) => ({
      type: 'polygon',
      silent: true,
      shape: { points: outline.map((point) => api.coord(point)) },
      style: { fill: colour, opacity: 0.18 },
    }),
    z: 1,
  };
}
