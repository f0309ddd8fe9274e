/** What a stream is expected to lose where neurons are left out by the size of what they add. */
import { percent } from '../../core/figures.ts';
import { chartFigure, frame, roundSpan, SHARES } from '../chart.ts';
import { CALIBRATE_AGAIN } from '../commands.ts';
import { bandSeries, curveSeries } from '../curves.ts';
import type { ProductLossFigures } from '../data.ts';
import { html } from '../html.ts';
import { across, mean } from '../layers.ts';
import { aside, ofStatistics, shown } from '../section.ts';
import { FIRST, SECOND } from '../theme.ts';

const CUTS = [
  { of: 'absolute', name: 'by the score', colour: FIRST },
  { of: 'mean', name: 'by the score over its token’s mean', colour: SECOND },
] as const;

export const productLoss = ofStatistics('product-loss', 'Expected loss', ({ statistics: { productLoss: found } }) => {
  if (found === null) return aside('the statistic product-scores was not measured', CALIBRATE_AGAIN);
  const { densities } = found;
  const curves = CUTS.map((cut) => ({ ...cut, means: across(found[cut.of], mean) }));
  const at = densities.findIndex((density) => density >= 0.5);
  const [best] = curves.toSorted((one, other) => one.means[at] - other.means[at]);
  const span = roundSpan(0, Math.max(...curves.flatMap(({ means }) => means)));
  return shown(
    `Neurons that add least are left out first (--measure product). With half of them, streams are expected to lose ${percent(best.means[at], 3)} of their squared length if cut ${best.name}, which a plan for that share would choose. What that costs in perplexity, only lacuna eval says.`,
    html`<div class="charts wide">${chartFigure({
      id: 'product-loss-chart',
      title: 'Share of the residual stream’s squared length that is lost, mean over layers',
      description: curves
        .map(({ name, means }) => `${name}: ${percent(means[at], 3)} at half of the neurons`)
        .join('; '),
      legend: [
        ...CUTS.map(({ name, colour }) => ({ label: `cut ${name}`, colour, shape: 'line' as const })),
        { label: 'all layers', colour: FIRST, shape: 'area' },
      ],
      option: {
        ...frame({
          x: { name: 'share of neurons kept', ...SHARES },
          y: { ...span, format: (value) => `${Number((100 * value).toPrecision(3))} %` },
        }),
        series: [band(found, span.max), ...curves.map(({ means, colour }) => curveSeries(densities, means, colour))],
      },
      table: {
        header: ['Neurons kept', ...CUTS.map(({ name }) => `cut ${name}`)],
        rows: densities.map((density, row) => [
          percent(density, 0),
          ...curves.map(({ means }) => percent(means[row], 4)),
        ]),
      },
    })}</div>`,
  );
});

/** Of the layer that loses least to the one that loses most, as far as the drawing goes. */
function band({ densities, absolute }: ProductLossFigures, top: number): object {
  const edge = (of: (...values: number[]) => number) => across(absolute, (values) => Math.min(top, of(...values)));
  return bandSeries(densities, edge(Math.min), edge(Math.max), FIRST);
}
