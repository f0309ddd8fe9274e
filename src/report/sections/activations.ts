/** How large activated gates are, by layer. */

import { chartFigure, frame, logSpan, STILL } from '../chart.ts';
import { CALIBRATE_AGAIN } from '../commands.ts';
import { bandSeries } from '../curves.ts';
import { html } from '../html.ts';
import { layerAxis } from '../layers.ts';
import { aside, ofStatistics, shown } from '../section.ts';
import { FIRST } from '../theme.ts';

export const activations = ofStatistics('activations', 'Activations', ({ statistics: { activations: found } }) => {
  if (found === null) return aside('the statistic activation-histogram was not measured', CALIBRATE_AGAIN);
  const [low, middle, high] = [
    found.map(({ p05 }) => p05),
    found.map(({ median }) => median),
    found.map(({ p95 }) => p95),
  ];
  const [least, most] = [Math.min(...middle), Math.max(...middle)];
  const span = logSpan(Math.min(...low), Math.max(...high));
  const verdict =
    most > 4 * least
      ? 'Layers differ, so every layer needs a threshold of its own, as plans give them'
      : 'Layers are alike; plans give each a threshold of its own all the same';
  return shown(
    `Half of the activated gates of a layer are smaller than ${short(least)} to ${short(most)}. ${verdict}.`,
    html`<div class="charts wide">${chartFigure({
      id: 'activations-chart',
      title: 'Size of activated gates, |act|, all neurons together',
      description: `Medians from ${short(least)} to ${short(most)} in ${found.length} layers.`,
      legend: [
        { label: 'median', colour: FIRST, shape: 'line' },
        { label: '90 % of neurons and tokens', colour: FIRST, shape: 'area' },
      ],
      option: {
        ...frame({ x: layerAxis(found.length), y: { ...span, format: short } }),
        series: [
          bandSeries([...found.keys()], low, high, FIRST),
          { ...STILL, type: 'line', data: middle, symbol: 'none', lineStyle: { color: FIRST, width: 2 }, z: 3 },
        ],
      },
      table: {
        header: ['Layer', 'p05', 'median', 'p95'],
        rows: found.map((one, layer) => [String(layer), ...[one.p05, one.median, one.p95].map(short)]),
      },
    })}</div>`,
  );
});

function short(value: number): string {
  return String(Number(value.toPrecision(2)));
}
