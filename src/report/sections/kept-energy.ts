/** How much of an FFN's output remains with a share of its neurons, by the best ranking and by the gate's. */
import { percent } from '../../core/figures.ts';
import { layerOfBlock, type Plan } from '../../core/plan.ts';
import { chartFigure, frame, roundSpan, SHARES, STILL } from '../chart.ts';
import { CALIBRATE, CALIBRATE_AGAIN } from '../commands.ts';
import { bandSeries, curveSeries } from '../curves.ts';
import type { KeptEnergyFigures, ReportData } from '../data.ts';
import { type Html, html } from '../html.ts';
import { across, layerAxis, mean } from '../layers.ts';
import { aside, ofBoth, shown } from '../section.ts';
import { FIRST, INK, SECOND } from '../theme.ts';

export const keptEnergy = ofBoth('kept-energy', 'Kept energy', (data) => {
  const found = data.statistics?.keptEnergy ?? null;
  if (found === null)
    return aside(
      data.kind === 'folder' ? 'no calibration lies in this folder' : 'the statistic was not measured',
      data.kind === 'folder' ? CALIBRATE : CALIBRATE_AGAIN,
    );
  const { densities, oracle, gate } = found;
  const wanted = planned(data)?.density ?? 0.5;
  const place = densities.findIndex((density) => density >= wanted - 1e-9);
  const at = place < 0 ? densities.length - 1 : place;
  const [best, cheap] = [oracle, gate].map((layers) => mean(layers.map((layer) => layer[at])));
  const share = percent(densities[at], 0);
  const follows =
    best - cheap > 0.02
      ? 'ranked by what they add (--measure product), the same share keeps more'
      : 'the gate alone, which reads less, ranks them nearly as well';
  return shown(
    `With the best ${share} of its neurons, a token keeps ${percent(best)} of its FFNs’ energy; chosen by the gate alone, ${percent(cheap)}: ${follows}.`,
    html`<div class="charts">${densityChart(found, planned(data)?.density)}${layerChart(found, at, data)}</div>`,
  );
});

interface Planned {
  readonly density: number;
  readonly byLayer: ReadonlyMap<number, number>;
}

/** The density that a plan aims at, and the energy that it expects of each layer. */
function planned(data: ReportData): Planned | undefined {
  const plan: Plan | null = data.kind === 'folder' ? data.manifest.plan : null;
  if (plan?.target?.kind !== 'density') return undefined;
  const kept = plan.blocks.flatMap(({ block, expected: { keptEnergy } }) =>
    keptEnergy === undefined ? [] : [[layerOfBlock(block), keptEnergy] as const],
  );
  return { density: plan.target.value, byLayer: new Map(kept) };
}

const RANKINGS = [
  { name: 'ranked by what neurons add', colour: FIRST, of: 'oracle' },
  { name: 'ranked by their gates', colour: SECOND, of: 'gate' },
] as const;

function densityChart(found: KeptEnergyFigures, target: number | undefined): Html {
  const { densities } = found;
  const curves = RANKINGS.map(({ name, colour, of }) => ({ name, colour, means: across(found[of], mean) }));
  return chartFigure({
    id: 'kept-energy-density',
    title: 'Energy kept against neurons kept, mean over layers',
    description: curves
      .map(
        ({ name, means }) =>
          `${name}: ${densities.flatMap((density, at) => (at % 4 === 1 ? [`${percent(means[at])} at ${percent(density, 0)}`] : [])).join(', ')}`,
      )
      .join('. '),
    legend: [
      ...RANKINGS.map(({ name, colour }) => ({ label: name, colour, shape: 'line' as const })),
      { label: 'all layers', colour: FIRST, shape: 'area' as const },
      ...(target === undefined ? [] : [{ label: 'the plan’s target', colour: INK, shape: 'dashes' as const }]),
    ],
    option: {
      ...frame({
        x: { name: 'share of neurons kept', ...SHARES },
        y: SHARES,
      }),
      series: [
        bandSeries(
          densities,
          across(found.oracle, (values) => Math.min(...values)),
          across(found.oracle, (values) => Math.max(...values)),
          FIRST,
        ),
        ...curves.map(({ colour, means }, index) =>
          curveSeries(densities, means, colour, index === 0 ? target : undefined),
        ),
      ],
    },
    table: {
      header: ['Neurons kept', ...RANKINGS.map(({ name }) => name)],
      rows: densities.map((density, at) => [percent(density, 0), ...curves.map(({ means }) => percent(means[at], 2))]),
    },
  });
}

function layerChart(found: KeptEnergyFigures, at: number, data: ReportData): Html {
  const layers = found.oracle.length;
  const expected = planned(data)?.byLayer;
  const share = percent(found.densities[at], 0);
  const least = Math.min(...found.gate.map((layer) => layer[at]));
  return chartFigure({
    id: 'kept-energy-layers',
    title: `Energy kept with ${share} of the neurons, by layer`,
    description: `From ${percent(least)} on, by the gates' ranking.`,
    legend: [
      ...RANKINGS.map(({ name, colour }) => ({ label: name, colour, shape: 'line' as const })),
      ...(expected === undefined ? [] : [{ label: 'expected by the plan', colour: INK, shape: 'dot' as const }]),
    ],
    option: {
      ...frame({
        x: layerAxis(layers),
        y: { ...roundSpan(least, 1), format: (value) => percent(value, least > 0.97 ? 1 : 0) },
      }),
      series: [
        ...RANKINGS.map(({ colour, of }) => ({
          ...STILL,
          type: 'line',
          data: found[of].map((layer) => layer[at]),
          symbol: 'none',
          lineStyle: { color: colour, width: 2 },
        })),
        {
          ...STILL,
          type: 'scatter',
          symbolSize: 5,
          itemStyle: { color: INK },
          data: [...(expected ?? [])].map(([layer, kept]) => [layer, kept]),
        },
      ],
    },
    table: {
      header: [
        'Layer',
        ...RANKINGS.map(({ name }) => name),
        ...(expected === undefined ? [] : ['expected by the plan']),
      ],
      rows: found.oracle.map((_, layer) => [
        String(layer),
        ...RANKINGS.map(({ of }) => percent(found[of][layer][at], 2)),
        ...(expected === undefined ? [] : [percent(expected.get(layer) ?? 1, 2)]),
      ]),
    },
  });
}
