/** What was measured by layer, as lines of small bars. */
import type { BuildComparison } from '../index.ts';

const BARS = '▁▂▃▄▅▆▇█';
/** For terminals that know no other characters. */
const ASCII_BARS = '_.-=+*#@';

/** Bars of a line. More layers take more lines. */
const BARS_PER_LINE = 64;

/** A bar for each value, from the least of all to the largest. */
export function sparkline(values: readonly number[], hasUnicode: boolean): string {
  const bars = hasUnicode ? BARS : ASCII_BARS;
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const step = (most - least) / bars.length;
  const barOf = (value: number) => (step > 0 ? Math.min(bars.length - 1, Math.floor((value - least) / step)) : 0);
  return values.map((value) => bars[barOf(value)]).join('');
}

/** Saturation by layer, the layers that stand out, and what a target reads of each. */
export function profileText(
  { summary, targets }: BuildComparison,
  target: number | undefined,
  hasUnicode: boolean,
): string {
  const cosines = summary.layers.map(({ meanCosine }) => meanCosine);
  const { start, end } = summary.saturated;
  const read = targets.find((one) => one.target === target)?.layers ?? [];
  return [
    ...lines('Saturation by layer: mean cosine of the stream before and after its FFN', cosines, hasUnicode),
    `Saturated: layers ${start} to ${end - 1}`,
    ...(read.length === 0 ? [] : lines(`Read of each layer's FFN, at a target of ${target} (*)`, read, hasUnicode)),
    ...summary.warnings.map((warning) => `warning: ${warning}`),
  ].join('\n');
}

function lines(what: string, values: readonly number[], hasUnicode: boolean): string[] {
  const bars = sparkline(values, hasUnicode);
  const folds = Math.ceil(bars.length / BARS_PER_LINE);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return [
    `${what}:`,
    ...Array.from({ length: folds }, (_, fold) => {
      const from = fold * BARS_PER_LINE;
      return `  ${String(from).padStart(4)} ${bars.slice(from, from + BARS_PER_LINE)}`;
    }),
    `       from ${least.toFixed(3)} to ${most.toFixed(3)}`,
  ];
}
