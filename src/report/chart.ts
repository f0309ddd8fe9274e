/** Charts: an option of ECharts becomes a figure that is read in light, in dark, on paper and aloud. */
import { percent } from '../core/figures.ts';
import { renderSvg } from './echarts.ts';
import { EMPTY, type Html, html, markup } from './html.ts';
import { type Table, tableOf } from './table.ts';
import { HEAT, INK, LINE, MUTED, PAGE } from './theme.ts';

export interface Chart {
  /** Unique in its page. */
  readonly id: string;
  readonly title: string;
  /** What is to be seen in it, for whoever does not see it. */
  readonly description: string;
  readonly option: object;
  readonly height?: number;
  readonly legend?: readonly LegendItem[];
  /** The same numbers. */
  readonly table: Table;
}

export interface LegendItem {
  readonly label: string;
  readonly colour: string;
  readonly shape: 'dot' | 'ring' | 'line' | 'dashes' | 'area' | 'solid' | 'frame' | 'scale';
}

/** In units of the drawing: a phone shows it at three quarters of this size, and its letters can still be read. */
const WIDTH = 480;
const HEIGHT = 300;
const FONT_SIZE = 13;

export function chartFigure({ id, title, description, option, height = HEIGHT, legend = [], table }: Chart): Html {
  const svg = renderSvg({ textStyle: { fontFamily: 'inherit', color: INK }, ...option }, { width: WIDTH, height });
  return html`<figure class="chart" id="${id}">
<figcaption>${title}</figcaption>
${legend.length === 0 ? EMPTY : legendList(legend)}
<svg role="img" aria-labelledby="${id}-title ${id}-about" viewBox="0 0 ${WIDTH} ${height}" font-size="${FONT_SIZE}">
<title id="${id}-title">${title}</title><desc id="${id}-about">${description}</desc>
${markup(innerSvg(svg, id))}
</svg>
<details><summary>The numbers</summary>${tableOf(table)}</details>
</figure>`;
}

function legendList(items: readonly LegendItem[]): Html {
  return html`<ul class="legend">${items.map(
    ({ label, colour, shape }) =>
      html`<li><svg viewBox="0 0 22 12" aria-hidden="true">${swatch(shape, colour)}</svg>${label}</li>`,
  )}</ul>`;
}

function swatch(shape: LegendItem['shape'], colour: string): Html {
  switch (shape) {
    case 'dot':
      return html`<circle cx="11" cy="6" r="4.5" fill="${colour}"/>`;
    case 'ring':
      return html`<circle cx="11" cy="6" r="4" fill="none" stroke="${colour}" stroke-width="1.6"/>`;
    case 'line':
      return html`<path d="M1 6H21" stroke="${colour}" stroke-width="2.4"/>`;
    case 'dashes':
      return html`<path d="M1 6H21" stroke="${colour}" stroke-width="1.6" stroke-dasharray="5 3"/>`;
    case 'area':
      return html`<rect x="1" y="1" width="20" height="10" fill="${colour}" fill-opacity="0.22"/>`;
    case 'solid':
      return html`<rect x="1" y="1" width="20" height="10" fill="${colour}"/>`;
    case 'scale':
      return html`${HEAT.map((step, at) => html`<rect x="${2.75 * at}" y="1" width="2.85" height="10" fill="${step}"/>`)}`;
    case 'frame':
      return html`<rect x="2" y="2" width="18" height="8" fill="none" stroke="${colour}" stroke-width="1.6"/>`;
  }
}

/**
 * What is inside the drawing, without what only a script would read: hints for the mouse, a style sheet of its own, and names that
 * count the charts of this process.
 */
function innerSvg(svg: string, id: string): string {
  return svg
    .replace(/^<svg[^>]*>\s*<rect[^>]*><\/rect>\s*/, '')
    .replace(/<\/svg>\s*$/, '')
    .replace(/<style\s*>[\s\S]*?<\/style>/g, '')
    .replace(/ (?:class|pointer-events|ecmeta_\w+|xml:space)="[^"]*"/g, '')
    .replace(/ style="font-size:(\d+)px;font-family:inherit;"/g, (_, size: string) =>
      Number(size) === FONT_SIZE ? '' : ` font-size="${size}"`,
    )
    .replace(/ style="font-weight:bold;?[^"]*"/g, ' font-weight="bold"')
    .replace(/zr\d+-c(\d+)/g, `${id}-clip-$1`)
    .replace(/\n+/g, '\n')
    .trim();
}

interface Axis {
  readonly name?: string;
  /** Where the axis begins and ends; what the data needs where it is absent. */
  readonly min?: number;
  readonly max?: number;
  readonly isLog?: boolean;
  readonly logBase?: number;
  readonly format?: (value: number) => string;
  /** How far apart ticks are. */
  readonly interval?: number;
  /** Of categories in place of a scale. */
  readonly categories?: readonly string[];
  readonly isInverse?: boolean;
}

interface Plot {
  readonly x: Axis;
  readonly y: Axis;
  readonly left?: number;
}

const LABEL = { color: MUTED, fontSize: FONT_SIZE };

/** So far below its axis no label meets the lowest one of the other axis. */
const BELOW = 13;

/** The frame of a chart: two axes with quiet lines, their names where they take no room from the drawing. */
export function frame({ x, y, left = 54 }: Plot): object {
  return {
    grid: { left, right: 18, top: y.name === undefined ? 14 : 34, bottom: x.name === undefined ? 32 : 52 },
    xAxis: { ...axisOf(x, BELOW), nameLocation: 'middle', nameGap: 34 },
    yAxis: {
      ...axisOf(y),
      nameLocation: y.isInverse ? 'start' : 'end',
      nameGap: 14,
      nameTextStyle: { ...LABEL, align: 'left', padding: [0, 0, 0, 8 - left] },
    },
  };
}

function axisOf(
  { name, min, max, isLog = false, logBase, format, categories, isInverse = false, interval }: Axis,
  margin = 8,
): object {
  const isScale = categories === undefined;
  return {
    type: isScale ? (isLog ? 'log' : 'value') : 'category',
    ...(isScale ? { scale: true, splitNumber: 4, logBase } : { data: categories, boundaryGap: true }),
    ...{ name, min, max, interval, inverse: isInverse },
    nameTextStyle: LABEL,
    axisLabel: { ...LABEL, margin, hideOverlap: true, ...(format && { formatter: (value: number) => format(value) }) },
    axisLine: { show: true, onZero: false, lineStyle: { color: LINE } },
    axisTick: { show: false },
    splitLine: { show: isScale, lineStyle: { color: LINE, opacity: 0.55 } },
  };
}

/** Round borders around values, and round steps between them. */
export function roundSpan(least: number, most: number, steps = 4) {
  const wanted = (most - least || Math.abs(most) || 1) / steps;
  const power = 10 ** Math.floor(Math.log10(wanted));
  const interval = power * ([1, 2, 2.5, 5].find((factor) => factor * power >= wanted) ?? 10);
  return { min: interval * Math.floor(least / interval), max: interval * Math.ceil(most / interval), interval };
}

/** A logarithmic axis that holds both, with a tick at each power of its base: of 2, or of 4 where there would be many. */
export function logSpan(least: number, most: number) {
  const isWide = most > 64 * least;
  const logBase = isWide ? 4 : 2;
  const exponent = (value: number) => Math.log(value) / Math.log(logBase);
  return {
    isLog: true,
    logBase,
    min: logBase ** Math.floor(exponent(least)),
    max: logBase ** Math.ceil(exponent(most)),
  };
}

/** From none to all. */
export const SHARES = { min: 0, max: 1, interval: 0.25, format: (value: number) => percent(value, 0) };

/** For every series: nothing answers to a mouse. */
export const STILL = { silent: true, emphasis: { disabled: true }, animation: false } as const;

/** A text beside a mark. */
export function labelled(text: string, position: string, colour = MUTED): object {
  return {
    show: true,
    formatter: () => text,
    position,
    ...LABEL,
    color: colour,
    textBorderColor: PAGE,
    textBorderWidth: 3,
  };
}

/** A line across the drawing, as a limit or a border. */
export function markLine(at: { readonly xAxis: number } | { readonly yAxis: number }, style: object = {}): object {
  const lineStyle = { color: INK, type: 'dashed', width: 1.2, ...style };
  return { silent: true, symbol: 'none', animation: false, label: { show: false }, lineStyle, data: [at] };
}
