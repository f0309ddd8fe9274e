/** How far blocks turn the residual stream, by layer and by position, with the layers and tokens that may skip. */
import { counted } from '../../core/figures.ts';
import { layerOfBlock, type Plan } from '../../core/plan.ts';
import { type Region, regionText, risesWithDepth } from '../../core/saturation.ts';
import { cellSeries, columnsSeries } from '../cells.ts';
import { chartFigure, frame, type LegendItem, logSpan, markLine, STILL } from '../chart.ts';
import { CALIBRATE, CALIBRATE_AGAIN } from '../commands.ts';
import { bandSeries } from '../curves.ts';
import type { ReportData, SaturationFigures } from '../data.ts';
import { type Html, html } from '../html.ts';
import { layerAxis } from '../layers.ts';
import { aside, ofBoth, shown } from '../section.ts';
import { FIRST, HEAT, INK, SECOND } from '../theme.ts';

export const saturation = ofBoth('saturation', 'Saturation', (data) => {
  const found = data.statistics?.saturation ?? null;
  if (found === null)
    return aside(
      data.kind === 'folder' ? 'no calibration lies in this folder' : 'the statistic was not measured',
      data.kind === 'folder' ? CALIBRATE : CALIBRATE_AGAIN,
    );
  const skip = skippingOf(data, found);
  return shown(
    ledeOf(found, skip),
    html`<div class="charts">${layerChart(found, skip)}${positionChart(found, skip)}</div>`,
  );
});

/** Where blocks may be skipped: by the plan, or where calibration suggests it. */
interface Skipping extends Region {
  readonly warmUpTokens: number;
  readonly isPlanned: boolean;
  /** The angle from which the next blocks are skipped. */
  readonly threshold: number | undefined;
}

function skippingOf(data: ReportData, { region, warmUp }: SaturationFigures): Skipping {
  const plan = data.kind === 'folder' ? data.manifest.plan : null;
  const layers = plan?.blocks.filter(({ skip }) => skip !== undefined).map(({ block }) => layerOfBlock(block)) ?? [];
  if (plan?.skipping == null || layers.length === 0)
    return { ...region, warmUpTokens: warmUp.tokens, isPlanned: false, threshold: undefined };
  const { warmUpTokens } = plan.skipping;
  return {
    start: Math.min(...layers),
    end: Math.max(...layers) + 1,
    warmUpTokens,
    isPlanned: true,
    threshold: thresholdOf(plan),
  };
}

/** All blocks of a plan have one threshold. */
function thresholdOf({ blocks }: Plan): number | undefined {
  const cosine = blocks.find(({ skip }) => skip !== undefined)?.skip?.threshold;
  return cosine === undefined ? undefined : Math.max(LEAST_ANGLE, angleOf(cosine));
}

function ledeOf(
  { layers, region, warmUp, spearman }: SaturationFigures,
  { isPlanned, warmUpTokens, ...planned }: Skipping,
): string {
  const measures =
    'A block that hardly turns the residual stream can be skipped: the smaller the angle, the more saturated.';
  if (isPlanned)
    return `${measures} The plan lets layers ${regionText(planned)} skip, after ${counted(warmUpTokens, 'token')} of warm-up.`;
  const settled = warmUp.isSettled
    ? `past the first ${counted(warmUp.tokens, 'token')} a text is like its rest`
    : 'cosines do not settle within half of a sequence';
  const layersFound = regionText(region);
  if (layersFound === undefined)
    return `${measures} No layer lies between the first and the last, which no plan skips, and ${settled}.`;
  const rises = risesWithDepth(spearman ?? undefined)
    ? 'Cosines rise with depth there, as the rule of FFN skipping assumes'
    : 'Cosines do not rise with depth there, so only short runs can be skipped';
  const isAllInner = region.start === 1 && region.end === layers.length - 1;
  const found = isAllInner ? 'No layers between the first and the last stand out' : `Layers ${layersFound} stand out`;
  return `${measures} ${found}, and ${settled}. ${rises}.`;
}

/** In degrees. */
function angleOf(cosine: number): number {
  return (Math.acos(Math.min(1, Math.max(-1, cosine))) * 180) / Math.PI;
}

/** Where a logarithm ends: a hundredth of a degree is far below what any plan tells apart. */
const LEAST_ANGLE = 0.01;

function angles(cosines: readonly number[]): number[] {
  return cosines.map((cosine) => Math.max(LEAST_ANGLE, angleOf(cosine)));
}

function degrees(value: number): string {
  return `${value >= 10 ? value.toFixed(0) : Number(value.toPrecision(2))}°`;
}

/** What is marked: what a plan allows, or what it would find. */
function markedText({ isPlanned }: Skipping): string {
  return isPlanned ? 'may be skipped' : 'most saturated';
}

function layerChart({ layers }: SaturationFigures, skip: Skipping): Html {
  const middle = angles(layers.map(({ mean }) => mean));
  const low = angles(layers.map(({ p95 }) => p95));
  const high = angles(layers.map(({ p05 }) => p05));
  const span = logSpan(Math.min(...low), Math.max(...high));
  const marked = regionText(skip);
  const lines: LegendItem[] = [
    { label: 'mean', colour: FIRST, shape: 'line' },
    { label: '90 % of tokens', colour: FIRST, shape: 'area' },
    ...(marked === undefined ? [] : [{ label: markedText(skip), colour: SECOND, shape: 'area' } as const]),
    ...(skip.threshold === undefined ? [] : [{ label: 'threshold', colour: INK, shape: 'dashes' } as const]),
  ];
  return chartFigure({
    id: 'saturation-layers',
    title: 'Angle between the stream before a block and after it, by layer',
    description: `Mean angles from ${degrees(Math.min(...middle))} to ${degrees(Math.max(...middle))}.${marked === undefined ? '' : ` Layers ${marked} may be skipped.`}`,
    legend: lines,
    option: {
      ...frame({ x: layerAxis(layers.length), y: { ...span, format: degrees } }),
      series: [
        columnsSeries(skip, { fill: SECOND, opacity: 0.16 }),
        bandSeries([...layers.keys()], low, high, FIRST),
        {
          ...STILL,
          type: 'line',
          data: middle,
          symbol: 'circle',
          symbolSize: 4,
          itemStyle: { color: FIRST },
          lineStyle: { color: FIRST, width: 2 },
          ...(skip.threshold !== undefined && { markLine: markLine({ yAxis: skip.threshold }) }),
        },
      ],
    },
    table: {
      header: ['Layer', 'mean cosine', 'p05', 'p95', 'mean angle'],
      rows: layers.map(({ mean, p05, p95 }, layer) => [
        String(layer),
        ...[mean, p05, p95].map((cosine) => cosine.toFixed(4)),
        `${middle[layer].toFixed(2)}°`,
      ]),
    },
  });
}

/** Cells overlap their neighbours by this much, in pixels: seams between them would show. */
const SEAM = -0.25;

function positionChart({ positions, layers }: SaturationFigures, skip: Skipping): Html {
  const cells = positions.map(({ cosines }) => angles(cosines));
  const { least, most, stepOf } = heatScale(cells.flat());
  const names = positions.map(({ from, to }) => (to - from === 1 ? String(from) : `${from}–${to - 1}`));
  const firstWarm = positions.findIndex(({ from }) => from >= skip.warmUpTokens);
  const framed = firstWarm < 0 ? undefined : regionText(skip);
  return chartFigure({
    id: 'saturation-positions',
    title: 'The same by layer and position in the text',
    description: `Mean angle in ${layers.length} layers over ${positions.length} ranges of positions, from ${degrees(least)} to ${degrees(most)}.${framed === undefined ? '' : ` A frame is around layers ${framed} from position ${skip.warmUpTokens} on.`}`,
    legend: [
      { label: `${degrees(least)} or less, to ${degrees(most)} or more`, colour: INK, shape: 'scale' },
      ...(framed === undefined ? [] : [frameItem(skip)]),
    ],
    option: {
      ...frame({
        x: { name: 'position in the text', categories: names },
        y: { name: 'layer', categories: layers.map((_, layer) => String(layer)) },
        left: 34,
      }),
      series: [
        cellSeries(
          cells.flatMap((column, at) => column.map((angle, layer) => [at, layer, stepOf(angle)] as const)),
          { style: (step) => ({ fill: HEAT[step] }), gap: SEAM },
        ),
        cellSeries(framed === undefined ? [] : [[firstWarm, skip.start, 0]], {
          style: () => ({ fill: 'none', stroke: INK, lineWidth: 1.8 }),
          across: [positions.length - firstWarm, skip.end - skip.start],
        }),
      ],
    },
    table: {
      header: ['Position', ...layers.map((_, layer) => String(layer))],
      rows: positions.map(({ cosines }, at) => [names[at], ...cosines.map((cosine) => cosine.toFixed(3))]),
    },
  });
}

function frameItem(skip: Skipping): LegendItem {
  const label = `${markedText(skip)}, past a warm-up of ${counted(skip.warmUpTokens, 'token')}`;
  return { label, colour: INK, shape: 'frame' };
}

/** Steps of equal ratios between the outer twentieths: the first token of a text often stands far apart. */
function heatScale(values: readonly number[]) {
  const sorted = values.toSorted((one, other) => one - other);
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))];
  const [least, most] = [at(0.05), at(0.95)];
  const stepOf = (value: number) => {
    const share = most === least ? 0 : Math.log(value / least) / Math.log(most / least);
    return Math.min(HEAT.length - 1, Math.max(0, Math.floor(share * HEAT.length)));
  };
  return { least, most, stepOf };
}
