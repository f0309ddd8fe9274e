/** Charts of quality against speed and against bytes, with the front of models that none beats in both. */
import { formatBytes } from '../core/figures.ts';
import type { DrawApi } from './cells.ts';
import { chartFigure, frame, type LegendItem, labelled, markLine, roundSpan, STILL } from './chart.ts';
import type { Html } from './html.ts';
import { plain } from './html.ts';
import { type Placed, type Point, paretoFront, type Role } from './points.ts';
import type { Table } from './table.ts';
import { FIRST, INK, MUTED, PAGE, SECOND } from './theme.ts';

const MARKS: Readonly<
  Record<Role, { readonly colour: string; readonly size: number; readonly isRing: boolean; readonly word: string }>
> = {
  this: { colour: SECOND, size: 13, isRing: false, word: 'this model' },
  dense: { colour: FIRST, size: 10, isRing: false, word: 'dense, timed in turn with it' },
  beside: { colour: FIRST, size: 10, isRing: true, word: 'others' },
};

/** Where the points' speeds come from, which every name of a speed says: none is taken for the other. */
export type SpeedOrigin = 'measured' | 'expected';

interface SpeedNames {
  readonly title: string;
  readonly axis: string;
  readonly columns: readonly string[];
}

const SPEEDS: Readonly<Record<SpeedOrigin, SpeedNames>> = {
  measured: { title: 'speed', axis: 'tokens/s, measured', columns: ['Tokens/s', '80 % of rounds'] },
  expected: { title: 'expected speed', axis: 'expected tokens/s', columns: ['Expected tokens/s'] },
};

/** One by speed and one by bytes, each where two models or more have a place in it. `id` begins their names. */
export function tradeOffCharts(id: string, points: readonly Point[], origin: SpeedOrigin): readonly Html[] {
  const bySpeed = placed(points, ({ rate }) => rate?.median ?? null);
  const byBytes = placed(points, ({ bytes }) => (bytes === null ? null : bytes / 1e6));
  const charts = [
    { at: bySpeed, better: 'more', of: 'speed', title: SPEEDS[origin].title, name: SPEEDS[origin].axis },
    { at: byBytes, better: 'less', of: 'bytes', title: 'bytes', name: 'MB of weights read a token' },
  ] as const;
  const table = pointTable(points, origin);
  return charts.filter(({ at }) => at.length > 1).map((chart) => chartOf(id, chart, table));
}

interface TradeOff {
  readonly at: readonly Placed[];
  readonly better: 'more' | 'less';
  readonly of: 'speed' | 'bytes';
  readonly title: string;
  /** Of the axis. */
  readonly name: string;
}

function placed(points: readonly Point[], xOf: (point: Point) => number | null): readonly Placed[] {
  return points.flatMap((point) => {
    const x = xOf(point);
    return x === null || point.ratio === null ? [] : [{ ...point, ratio: point.ratio, x }];
  });
}

function chartOf(id: string, { at, better, of, title, name }: TradeOff, table: Table): Html {
  const front = paretoFront(at, better);
  const names = front.map((point) => point.name).join(', ');
  const roles = (Object.keys(MARKS) as Role[]).filter((role) => at.some((point) => point.role === role));
  const xs = spanOf(at.map(({ x }) => x));
  const bars = barsOf(at);
  const ys = spanOf([1, ...bars.flatMap(({ from, to }) => [from, to])], 6);
  return chartFigure({
    id: `${id}-${of}`,
    title: `Perplexity ratio against ${title}`,
    description: `${at.length} models by their perplexity ratio to the checkpoint's floats and by ${name}. On the front: ${names}.`,
    legend: legendOf(roles),
    option: {
      ...frame({
        x: { name, ...xs, format: short },
        y: {
          name: 'perplexity ratio (lower is nearer to the checkpoint)',
          ...ys,
          format: (value) => value.toFixed(ys.interval < 0.0099 ? 3 : 2),
        },
      }),
      series: [
        frontSeries(front, ys.min <= 1),
        errorSeries(bars),
        ...roles.map((role) => scatterOf(role, at, (xs.min + xs.max) / 2)),
      ],
    },
    table,
  });
}

/** What chance may move: the ratio from its lower to its upper bound. Few windows may say so little that nothing else could be seen. */
function barsOf(at: readonly Placed[]) {
  const worst = Math.max(...at.map(({ ratio }) => ratio.value));
  return at.map(({ x, ratio: { value, upperBound } }) => {
    const factor = Math.min((upperBound ?? value) / value, (2 * worst) / value);
    return { x, from: value / factor, to: value * factor };
  });
}

/** From the least to the largest, with room around them for their names. */
function spanOf(values: readonly number[], steps?: number) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const margin = 0.08 * (most - least || Math.abs(most));
  return roundSpan(least - margin, most + margin, steps);
}

function short(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(3)).toString();
}

function frontSeries(front: readonly Placed[], hasFloats: boolean): object {
  return {
    ...STILL,
    type: 'line',
    data: front.map(({ x, ratio }) => [x, ratio.value]),
    symbol: 'none',
    lineStyle: { color: MUTED, width: 1.3, type: 'dashed' },
    z: 1,
    ...(hasFloats && { markLine: markLine({ yAxis: 1 }, { type: 'solid', color: MUTED, width: 1 }) }),
  };
}

function errorSeries(bars: ReturnType<typeof barsOf>): object {
  return {
    ...STILL,
    type: 'custom',
    data: bars.map(({ x, from, to }) => [x, from, to]),
    renderItem: (_: unknown, api: DrawApi) => {
      const [x1, y1] = api.coord([api.value(0), api.value(1)]);
      const [x2, y2] = api.coord([api.value(0), api.value(2)]);
      return { type: 'line', silent: true, shape: { x1, y1, x2, y2 }, style: { stroke: MUTED, lineWidth: 1.2 } };
    },
    z: 2,
  };
}

/** Names stand on the side where there is more room. */
function scatterOf(role: Role, at: readonly Placed[], middle: number): object {
  const { colour, size, isRing } = MARKS[role];
  return {
    ...STILL,
    type: 'scatter',
    symbolSize: size,
    itemStyle: { opacity: 1, ...(isRing ? { color: PAGE, borderColor: colour, borderWidth: 2 } : { color: colour }) },
    // Beside the bar, and above lines that run across.
    labelLayout: { dy: -9, hideOverlap: true, moveOverlap: 'shiftY' },
    data: at
      .filter((point) => point.role === role)
      .map(({ x, ratio, name }) => ({
        value: [x, ratio.value],
        label: labelled(plain(name), x < middle ? 'right' : 'left', role === 'this' ? INK : MUTED),
      })),
    z: 3,
  };
}

function legendOf(roles: readonly Role[]): readonly LegendItem[] {
  const marks = roles.map((role) => ({ role, ...MARKS[role] }));
  return [
    ...marks.map(({ word, colour, isRing }) => ({
      label: word,
      colour,
      shape: isRing ? ('ring' as const) : ('dot' as const),
    })),
    { label: 'the front', colour: MUTED, shape: 'dashes' },
    { label: 'the checkpoint’s floats', colour: MUTED, shape: 'line' },
  ];
}

/** All points, also those that have no place in a chart. */
export function pointTable(points: readonly Point[], origin: SpeedOrigin): Table {
  return {
    header: ['Model', 'Ratio', 'Bound', ...SPEEDS[origin].columns, 'Read a token'],
    rows: points.map(({ name, ratio, rate, bytes }) => [
      name,
      ratio?.value.toFixed(4) ?? 'not measured',
      ratio?.upperBound?.toFixed(4) ?? '–',
      ...speedCells(rate, origin),
      bytes === null ? '–' : formatBytes(bytes),
    ]),
  };
}

/** What is expected has no rounds that could spread. */
function speedCells(rate: Point['rate'], origin: SpeedOrigin): readonly string[] {
  if (origin === 'expected') return [rate?.median.toFixed(1) ?? 'not known'];
  if (rate === null) return ['not measured', '–'];
  return [rate.median.toFixed(1), rate.p10 === rate.p90 ? '–' : `${rate.p10.toFixed(1)} to ${rate.p90.toFixed(1)}`];
}
