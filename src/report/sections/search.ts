/** The search of a build within a budget: every model that it measured on the text for choosing. */
import { percent } from '../../core/figures.ts';
import { html } from '../html.ts';
import { searchedPoints } from '../points.ts';
import { aside, ofFolder, shown } from '../section.ts';
import { tableOf } from '../table.ts';
import { pointTable, tradeOffCharts } from '../trade-off.ts';
import { countsText } from '../words.ts';

export const search = ofFolder('search', 'The search', (data) => {
  const { search: found } = data;
  if (found === null) return aside('the model was not looked for within a budget');
  const points = searchedPoints(data);
  const charts = tradeOffCharts('search', points, 'expected');
  const { candidates, budget } = found;
  const chosen = candidates.find(({ isChosen }) => isChosen);
  const what = chosen === undefined ? 'None of them was built' : `Built was ${countsText(chosen.blocks)}`;
  return shown(
    `${candidates.length} models were measured for the budget ${budget}, on the text for choosing. ${what}: what was expected to be the fastest that keeps to it. Speeds here are expected by the costs of the host. That model alone was timed, and judged on the test text.`,
    html`${charts.length === 0 ? tableOf(pointTable(points, 'expected')) : html`<div class="charts">${charts}</div>`}
${tableOf({
  header: ['Blocks', 'Expected time, ms', 'Files, MB', 'Expected KL', 'KL', 'Ratio', 'Bound'],
  rows: candidates.map(({ blocks, seconds, bytes, kl, shown: { ratio, kl: measured }, isChosen }) => [
    `${countsText(blocks)}${isChosen ? ' (built)' : ''}`,
    seconds === null ? '–' : (1000 * seconds).toFixed(3),
    (bytes / 1e6).toFixed(1),
    kl?.toFixed(4) ?? '–',
    measured.value.toFixed(4),
    ratio.value.toFixed(4),
    ratio.upperBound?.toFixed(4) ?? '–',
  ]),
})}
${rivalText(found.benchUniform)}`,
  );
});

function rivalText(bench: NonNullable<Parameters<typeof searchedPoints>[0]['search']>['benchUniform']) {
  if (bench === null || bench.speedup === null) return '';
  const { median, p10, p90 } = bench.speedup;
  return html`<p class="note">Timed against dense ${bench.subjects[0].name}, the fastest of one precision within the budget:
${median.toFixed(2)} times as fast (${p10.toFixed(2)} to ${p90.toFixed(2)}), ${percent(median - 1)} more tokens a second.</p>`;
}
