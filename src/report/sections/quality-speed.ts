/** Quality against speed and against bytes: the model among the dense ones that were measured. */

import { EVALUATE, TIME, together } from '../commands.ts';
import type { FolderData } from '../data.ts';
import { EMPTY, type Html, html } from '../html.ts';
import { measuredPoints, type Point } from '../points.ts';
import { aside, ofFolder, shown } from '../section.ts';
import { tableOf } from '../table.ts';
import { pointTable, tradeOffCharts } from '../trade-off.ts';
import { isAgainstFloats, isFloats } from '../words.ts';

export const qualitySpeed = ofFolder('quality-speed', 'Quality against speed', (data) => {
  const points = measuredPoints(data);
  if (data.evaluation === null && data.bench === null && data.beside.length === 0)
    return isFloats(data)
      ? aside('the speed has not been measured', TIME)
      : aside('neither quality nor speed has been measured', together(EVALUATE, TIME));
  const charts = tradeOffCharts('measured', points, 'measured');
  return shown(
    `A model is worth having where no other is both faster and nearer to the checkpoint: on the front. ${placeOf(points)}`,
    html`${charts.length === 0 ? tableOf(pointTable(points, 'measured')) : html`<div class="charts">${charts}</div>`}
${besideNote(data)}
${missingBaselines(data, points)}`,
  );
});

function placeOf(points: readonly Point[]): string {
  const [own, ...others] = points;
  const { ratio, rate } = own;
  const comparable = others.filter((point) => point.ratio !== null && point.rate !== null);
  if (ratio === null || rate === null || comparable.length === 0)
    return 'There are too few measurements to say that of this one.';
  const better = comparable.filter(
    (other) => (other.ratio?.value ?? 0) <= ratio.value && (other.rate?.median ?? 0) >= rate.median,
  );
  const names = better.map(({ name }) => name).join(', ');
  return better.length === 0 ? 'This one is on it.' : `This one is not: ${names} is as good in both.`;
}

/** Models beside were timed in runs of their own, and perhaps scored on another text. */
function besideNote({ beside, evaluation }: FolderData): Html {
  if (beside.length === 0) return EMPTY;
  const hash = ({ texts }: NonNullable<FolderData['evaluation']>) => texts.map(({ sha256 }) => sha256).join();
  const others = beside.filter((one) => evaluation && one.evaluation && hash(one.evaluation) !== hash(evaluation));
  const text = others.length === 0 ? '' : ` ${others.map(({ name }) => name).join(', ')}: scored on another text.`;
  return html`<p class="note">Rings are models that were timed in runs of their own. Times of different runs compare only
roughly, and only on one machine.${text}</p>`;
}

const BASELINES = ['fp32', 'int8', 'int4'] as const;

/** Dense models that a reader would want to see here, with the commands that measure them. */
function missingBaselines(data: FolderData, points: readonly Point[]): Html {
  const isComplete = ({ ratio, rate }: Point) => ratio !== null && rate !== null;
  const there = new Set(points.filter(isComplete).map(({ name }) => name));
  const missing = BASELINES.filter((name) => !there.has(`dense ${name}`));
  if (missing.length === 0) return EMPTY;
  const isScored = isFloats(data) || (data.evaluation !== null && isAgainstFloats(data.evaluation));
  const own = together(isScored ? [] : EVALUATE, data.bench === null ? TIME : []);
  const commands = [...own, ...missing.flatMap(baselineCommands)];
  const last = `lacuna report DIR --beside ${missing.join(' ')} -o report.html`;
  return html`<details class="missing"><summary>Not measured here: dense ${missing.join(', ')} of the same checkpoint.
How to add ${missing.length === 1 ? 'it' : 'them'}</summary>
<pre class="scroll" tabindex="0">${[...commands, last].join('\n')}</pre></details>`;
}

function baselineCommands(name: (typeof BASELINES)[number]): readonly string[] {
  const rounding = name === 'int4' ? ' --data FIT-TEXT' : '';
  return [
    `lacuna convert CHECKPOINT -o ${name} --dtype ${name}${rounding}`,
    `mkdir ${name}/lacuna`,
    ...(name === 'fp32' ? [] : [`lacuna eval ${name} --against FP32-DIR --json > ${name}/lacuna/evaluation.json`]),
    `lacuna bench ${name} --json > ${name}/lacuna/bench.json`,
  ];
}
