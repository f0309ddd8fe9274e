/** What was measured by layer, as lines of small bars. */
import { percent } from '../core/figures.ts';
import type { BuildComparison } from '../index.ts';

const BARS = '▁▂▃▄▅▆▇█';
/** For terminals that know no other characters. */
const ASCII_BARS = '_.-=+*#@';

/** Bars of a line. More layers take more lines. */
const BARS_PER_LINE = 64;

type Range = readonly [least: number, most: number];

/** A bar for each value of a range. What lies beyond has the bar of the end. */
export function sparkline(values: readonly number[], [least, most]: Range, hasUnicode: boolean): string {
  const bars = hasUnicode ? BARS : ASCII_BARS;
  const step = (most - least) / bars.length;
  const barOf = (value: number) => (step > 0 ? Math.floor((value - least) / step) : 0);
  return values.map((value) => bars[Math.min(bars.length - 1, Math.max(0, barOf(value)))]).join('');
}

/** Saturation by layer, and the layers that stand out. */
export function saturationText({ summary }: BuildComparison, hasUnicode: boolean): string {
  const cosines = summary.layers.map(({ meanCosine }) => meanCosine);
  // The ends differ from the others by so much that these would all look alike.
  const inner = cosines.length > 2 ? cosines.slice(1, -1) : cosines;
  const range: Range = [Math.min(...inner), Math.max(...inner)];
  const { start, end } = summary.saturated;
  // A model of two layers has none between its ends.
  const most = end > start ? `; most saturated: layers ${start} to ${end - 1}` : '';
  return [
    'Saturation by layer (mean cosine of the stream before and after its FFN):',
    ...barLines(sparkline(cosines, range, hasUnicode)),
    `       from ${range[0].toFixed(3)} to ${range[1].toFixed(3)} between the ends${most}`,
    ...summary.warnings.map((warning) => `warning: ${warning}`),
  ].join('\n');
}

/** What a decoded token reads of each layer's FFN at a target, and why there is no plan for others. */
export function readText({ targets }: BuildComparison, target: number | undefined, hasUnicode: boolean): string {
  const layers = targets.find((one) => one.target === target)?.layers ?? [];
  const refused = targets.find(({ problem }) => problem !== undefined);
  const read =
    layers.length === 0
      ? []
      : [
          "Read of each layer's FFN at the row marked * (from none to all):",
          ...barLines(sparkline(layers, [0, 1], hasUnicode)),
        ];
  const why = refused === undefined ? [] : [`No plan for ${percent(refused.target, 0)}: ${refused.problem?.message}`];
  return [...read, ...why].join('\n');
}

function barLines(bars: string): string[] {
  return Array.from({ length: Math.ceil(bars.length / BARS_PER_LINE) }, (_, line) => {
    const from = line * BARS_PER_LINE;
    return `  ${String(from).padStart(4)} ${bars.slice(from, from + BARS_PER_LINE)}`;
  });
}
