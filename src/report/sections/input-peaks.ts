/** How much the largest input of linear layers exceeds the others: what rounding has to cope with. */

import { chartFigure, frame, logSpan, STILL } from '../chart.ts';
import { CALIBRATE_AGAIN } from '../commands.ts';
import { INPUT_NAMES, type InputName } from '../data.ts';
import { html } from '../html.ts';
import { layerAxis } from '../layers.ts';
import { aside, ofStatistics, shown } from '../section.ts';
import { FIRST, INK, SECOND, THIRD } from '../theme.ts';

const WORDS: Readonly<Record<InputName, { readonly name: string; readonly colour: string }>> = {
  attnIn: { name: 'query, key, value', colour: FIRST },
  attended: { name: 'output of attention', colour: THIRD },
  ffnIn: { name: 'gate, up', colour: INK },
  downIn: { name: 'down', colour: SECOND },
};

export const inputPeaks = ofStatistics(
  'input-peaks',
  'Inputs that stand out',
  ({ statistics: { inputPeaks: found } }) => {
    if (found === null) return aside('the statistic input-moments was not measured', CALIBRATE_AGAIN);
    const all = found.flatMap((layer, at) => INPUT_NAMES.map((name) => ({ at, name, peak: layer[name] })));
    const [worst] = all.toSorted((one, other) => other.peak - one.peak);
    const span = logSpan(1, Math.max(2, worst.peak));
    return shown(
      `The largest input of ${WORDS[worst.name].name} in layer ${worst.at} has ${times(worst.peak)} times the mean square. Errors in the columns that such inputs meet cost most: rounding by a text (convert --data) weighs them so.`,
      html`<div class="charts wide">${chartFigure({
        id: 'input-peaks-chart',
        title: 'Largest mean square of an input over that of all, by layer',
        description: INPUT_NAMES.map(
          (name) => `${WORDS[name].name}: at most ${times(Math.max(...found.map((layer) => layer[name])))} times`,
        ).join('; '),
        legend: INPUT_NAMES.map((name) => ({
          label: `inputs of ${WORDS[name].name}`,
          colour: WORDS[name].colour,
          shape: 'line',
        })),
        option: {
          ...frame({ x: layerAxis(found.length), y: { ...span, format: times } }),
          series: INPUT_NAMES.map((name) => ({
            ...STILL,
            type: 'line',
            data: found.map((layer) => layer[name]),
            symbol: 'none',
            lineStyle: { color: WORDS[name].colour, width: 1.8 },
          })),
        },
        table: {
          header: ['Layer', ...INPUT_NAMES.map((name) => WORDS[name].name)],
          rows: found.map((layer, at) => [String(at), ...INPUT_NAMES.map((name) => layer[name].toFixed(1))]),
        },
      })}</div>`,
    );
  },
);

function times(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(2)));
}
