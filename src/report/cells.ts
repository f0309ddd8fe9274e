/** Cells between two axes, one or both of categories. */
import { STILL } from './chart.ts';

/** What ECharts hands to a series that draws itself. */
export interface DrawApi {
  readonly value: (dimension: number) => number;
  readonly coord: (point: readonly number[]) => readonly [number, number];
  readonly size: (lengths: readonly number[]) => readonly [number, number];
}

/** A column, a row and whatever the style of the cell depends on. */
type Cell = readonly [column: number, row: number, kind: number];

interface CellOptions {
  readonly style: (kind: number) => object;
  /** How many columns and rows each takes. */
  readonly across?: readonly [columns: number, rows: number];
  /** What is left free around each; less than nothing closes the seams between them. */
  readonly gap?: number;
}

/** A series of cells on two axes of categories. */
export function cellSeries(cells: readonly Cell[], { style, across = [1, 1], gap = 0 }: CellOptions): object {
  const [columns, rows] = across;
  return {
    ...STILL,
    type: 'custom',
    data: cells,
    renderItem: (_: unknown, api: DrawApi) => {
      const [centreX, centreY] = api.coord([api.value(0), api.value(1)]);
      const [width, height] = api.size([1, 1]);
      const bottom = centreY + height / 2;
      const shape = {
        x: centreX - width / 2 + gap,
        y: bottom - rows * height + gap,
        width: columns * width - 2 * gap,
        height: rows * height - 2 * gap,
      };
      return { type: 'rect', silent: true, shape, style: style(api.value(2)) };
    },
  };
}

interface Drawing {
  readonly coordSys: { readonly y: number; readonly height: number };
}

/** Columns `start` to `end` - 1 of an axis of categories, from top to bottom. */
export function columnsSeries({ start, end }: { readonly start: number; readonly end: number }, style: object): object {
  return {
    ...STILL,
    type: 'custom',
    data: end > start ? [[start, 1]] : [],
    renderItem: ({ coordSys: { y, height } }: Drawing, api: DrawApi) => {
      const [centre] = api.coord([api.value(0), api.value(1)]);
      const [width] = api.size([1, 1]);
      const shape = { x: centre - width / 2, y, width: (end - start) * width, height };
      return { type: 'rect', silent: true, shape, style };
    },
    z: 0,
  };
}
