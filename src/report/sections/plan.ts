/** The plan, block by block: what is stored how, what is left out from which threshold on, and why. */

import { denseFfnBytes } from '../../core/ffn-bytes.ts';
import { counted, formatBytes, percent } from '../../core/figures.ts';
import { BLOCK_PARTS } from '../../core/model.ts';
import { actionsOf, type BlockPlan, layerOfBlock, leavesOut, mixOf, type Plan, partOfBlock } from '../../core/plan.ts';
import { HOST_DTYPES } from '../../core/precision.ts';
import { cellSeries } from '../cells.ts';
import { chartFigure, frame, roundSpan, SHARES, STILL } from '../chart.ts';
import { type Html, html } from '../html.ts';
import { layerAxis } from '../layers.ts';
import { aside, ofFolder, shown } from '../section.ts';
import { factsOf, type Table, tableOf } from '../table.ts';
import { FIRST, HEAT } from '../theme.ts';
import { targetText } from '../words.ts';

export const planSection = ofFolder('plan', 'The plan', ({ manifest: { plan, spec } }) => {
  if (plan === null) return aside('all blocks are stored alike, and nothing is left out: there is no plan');
  const dense = denseFfnBytes(spec);
  const chart = leavesOut(plan)
    ? bytesChart(plan, spec.numHiddenLayers, dense)
    : storageChart(plan, spec.numHiddenLayers);
  return shown(
    headingOf(plan),
    html`<div class="charts">${chart}<div class="aside">${factsOf(planFacts(plan))}</div></div>
${(plan.notes ?? []).map((note) => html`<p>${note}</p>`)}
<details><summary>All ${plan.blocks.length} blocks</summary>${tableOf(blockTable(plan))}</details>
<details><summary>Why, block by block</summary>${tableOf({
      header: ['Block', 'Why'],
      rows: plan.blocks.map(({ block, why }) => [block, html`<span class="prose">${why}</span>`]),
    })}</details>`,
  );
});

function headingOf({ preset, host, blocks, budget }: Plan): string {
  const where = host.kind === 'stock' ? 'stock ONNX Runtime' : 'the native kernels';
  const within = budget === undefined ? '' : `, for the budget ${budget}`;
  return `Preset ${preset}${within}, for ${where}: ${counted(blocks.length, 'block')} planned. What is not planned stays as it is.`;
}

/** What holds for all of its blocks. */
function planFacts(plan: Plan): readonly (readonly [string, string])[] {
  const { skipping, prefill, blocks } = plan;
  const measures = [...new Set(blocks.flatMap(({ choice }) => choice?.measure ?? []))];
  const cuts = [...new Set(blocks.flatMap(({ choice }) => choice?.cut.kind ?? []))];
  const runs = [...new Set(blocks.flatMap(({ skip }) => skip?.runLength ?? []))];
  const target = targetText(plan);
  return [
    ...(target === undefined ? [] : [['Target', target] as const]),
    ...(measures.length === 0
      ? []
      : [['Neurons chosen by', `${measures.join(', ')}, cut: ${cuts.join(', ')}`] as const]),
    ...(skipping === null
      ? []
      : [['Warm-up', `${counted(skipping.warmUpTokens, 'token')} that skip nothing`] as const]),
    ...(runs.length === 0 ? [] : [['Skipped at a time', `${runs.join(', ')}, ${rearmText(skipping)}`] as const]),
    ['Prompts', prefill === 'dense' ? 'calls with several tokens leave out nothing' : 'leave out what decoding does'],
  ];
}

function rearmText(skipping: Plan['skipping']): string {
  return skipping?.reArm ? 'tested again after each run' : 'one run a token';
}

/** No plan of ours reads more than the dense block and what predicts its neurons. An edited one may say anything. */
const MOST_READ = 10;

/** What a token reads of each FFN, as a share of the dense block's bytes. */
function bytesChart(plan: Plan, layers: number, dense: number): Html {
  const byLayer = new Map(
    plan.blocks
      .filter(({ block }) => partOfBlock(block) === 'ffn')
      .map(({ block, expected }) => [layerOfBlock(block), Math.min(MOST_READ, expected.bytesPerToken / dense)]),
  );
  const shares = Array.from({ length: layers }, (_, layer) => byLayer.get(layer) ?? 1);
  return chartFigure({
    id: 'plan-bytes',
    title: 'FFN weights read for a decoded token, as a share of the dense block',
    description: `From ${percent(Math.min(...shares))} to ${percent(Math.max(...shares))} in ${layers} layers.`,
    option: {
      ...frame({
        x: layerAxis(layers),
        y: { ...SHARES, ...(Math.max(...shares) > 1 && roundSpan(0, Math.max(...shares))) },
      }),
      series: [{ ...STILL, type: 'bar', data: shares, barCategoryGap: '25%', itemStyle: { color: FIRST } }],
    },
    height: 240,
    table: { header: ['Layer', 'share read'], rows: shares.map((share, layer) => [String(layer), percent(share)]) },
  });
}

/** Which precision stores which block. */
function storageChart(plan: Plan, layers: number): Html {
  const mix = mixOf(plan);
  const used = HOST_DTYPES.filter((name) => [...mix.values()].some((precision) => precision.name === name));
  // From the most exact to the coarsest.
  const colourOf = (at: number) =>
    HEAT[HEAT.length - 1 - Math.round((at * (HEAT.length - 2)) / Math.max(1, used.length - 1))];
  const cells = plan.blocks.flatMap(({ block, dtype }) =>
    dtype === undefined
      ? []
      : [[layerOfBlock(block), BLOCK_PARTS.indexOf(partOfBlock(block)), used.indexOf(dtype)] as const],
  );
  return chartFigure({
    id: 'plan-storage',
    title: 'How blocks are stored',
    description: used.map((name, at) => `${cells.filter(([, , of]) => of === at).length} blocks in ${name}`).join(', '),
    legend: used.map((name, at) => ({ label: name, colour: colourOf(at), shape: 'solid' })),
    option: {
      ...frame({ x: layerAxis(layers), y: { categories: BLOCK_PARTS, isInverse: true }, left: 76 }),
      series: [cellSeries(cells, { style: (at) => ({ fill: colourOf(at) }), gap: 1 })],
    },
    height: 150,
    table: { header: ['Block', 'stored as'], rows: plan.blocks.map(({ block, dtype }) => [block, dtype ?? '–']) },
  });
}

const COLUMNS: readonly (readonly [name: string, cell: (block: BlockPlan) => string])[] = [
  ['Block', ({ block }) => block],
  ['Stored as', ({ dtype }) => dtype ?? ''],
  ['Does', doesText],
  [
    'Threshold',
    ({ choice, skip, repair }) =>
      (thresholdOf(choice) ?? skip?.threshold ?? repair?.gate?.threshold)?.toPrecision(4) ?? '',
  ],
  ['Density', ({ expected }) => share(expected.density)],
  ['Kept energy', ({ expected }) => share(expected.keptEnergy)],
  ['Skipped', ({ expected }) => share(expected.skipped)],
  ['Adds to KL', ({ expected }) => expected.kl?.toFixed(5) ?? ''],
  ['Reads, as fp32', ({ expected }) => formatBytes(expected.bytesPerToken)],
  ['Of dense time', ({ expected }) => share(expected.time)],
];

function thresholdOf(choice: BlockPlan['choice']): number | undefined {
  return choice === undefined || choice.cut.kind === 'deviation' ? undefined : choice.cut.threshold;
}

/** Fields of a plan that are not known here are shown by their names. */
function doesText(block: BlockPlan): string {
  const words: Readonly<Record<string, string | undefined>> = {
    choice: block.choice && `choose by ${block.choice.measure}`,
    skip: block.skip && `skip ${block.skip.runLength} after it`,
    repair:
      block.repair &&
      `affine map of rank ${block.repair.rank}${block.repair.gate === undefined ? '' : ', or the block'}`,
  };
  return actionsOf(block)
    .map((action) => words[action] ?? action)
    .join(', ');
}

function share(value: number | undefined): string {
  return value === undefined ? '' : percent(value);
}

/** Columns that no block fills are left out. */
function blockTable({ blocks }: Plan): Table {
  const used = COLUMNS.filter(([, cell]) => blocks.some((block) => cell(block) !== ''));
  return { header: used.map(([name]) => name), rows: blocks.map((block) => used.map(([, cell]) => cell(block))) };
}
