/** Models, graphs, statistics and plans as text, for `inspect` and for commands that made one. */
import { counted, formatBytes, percent } from '../core/figures.ts';
import { runsText } from '../core/layer-runs.ts';
import { actionsOf } from '../core/plan.ts';
import { listed, type Precision } from '../core/precision.ts';
import { TARGETS } from '../core/target.ts';
import type {
  AdapterSummary,
  BlockPlan,
  CheckpointSummary,
  GraphSummary,
  Manifest,
  ModelSpec,
  Plan,
  StatisticsSummary,
} from '../index.ts';
import { foldedTable, table, wrap } from './table.ts';

type Layout = NonNullable<CheckpointSummary['layout']>;
type Parts = CheckpointSummary['bytesByKind'];

export function specText(spec: ModelSpec): string {
  return [
    `${spec.architecture} (${spec.modelType})`,
    `${spec.numHiddenLayers} layers, hidden ${spec.hiddenSize}, FFN ${spec.intermediateSize} (${spec.hiddenAct})`,
    `${spec.numAttentionHeads} heads of ${spec.headDim}, ${spec.numKeyValueHeads} for keys and values, context ${spec.contextLength}, vocabulary ${spec.vocabSize}`,
  ].join('\n');
}

/** How layers attend, one line for all layers that do it alike, and what the head multiplies by. */
export function layoutText({ layers, ropes, sharesHead }: Layout, width: number): string {
  const groups = new Map<string, number[]>();
  for (const [index, { slidingWindow, rope }] of layers.entries()) {
    const reach = slidingWindow === undefined ? 'all tokens' : `the last ${slidingWindow} tokens`;
    const how = `attention to ${reach}, rotary ${ropeText(ropes[rope])}`;
    groups.set(how, [...(groups.get(how) ?? []), index]);
  }
  const lines = [...groups].map(
    ([how, indices]) => `${groups.size === 1 ? 'all layers' : layersText(indices)}: ${how}`,
  );
  const head = `head: ${sharesHead ? 'the embedding' : 'weights of its own'}`;
  return [...lines, head].map((line) => wrap(line, width, '  ')).join('\n');
}

function layersText(indices: readonly number[]): string {
  return `layer${indices.length === 1 ? '' : 's'} ${runsText(indices)}`;
}

function ropeText(rope: Layout['ropes'][string]): string {
  const base = `base ${rope.theta}`;
  switch (rope.kind) {
    case 'default':
      return base;
    case 'dynamic':
      return `${base}, dynamic beyond the context`;
    case 'linear':
      return `${base}, linear by ${rope.factor}`;
    case 'llama3':
    case 'yarn':
      return `${base}, ${rope.kind} by ${rope.factor} from ${rope.originalMaxPositions}`;
  }
}

export function extrasText(model: { readonly hasTokenizer: boolean; readonly hasChatTemplate: boolean }): string {
  return `tokenizer: ${model.hasTokenizer ? 'yes' : 'none'}, chat template: ${model.hasChatTemplate ? 'yes' : 'none'}`;
}

/** How many weights are in each part, their bytes, and the sum. A shared head counts as the embedding. */
export function partsText(parameters: Parts | undefined, bytes: Parts): string {
  const kinds = (Object.keys(bytes) as (keyof Parts)[]).filter((kind) => parameters?.[kind] || bytes[kind]);
  const all = (parts: Parts) => kinds.reduce((sum, kind) => sum + parts[kind], 0);
  const row = (name: string, count: number | undefined, size: number) => [
    name,
    ...(count === undefined ? [] : [count === 0 ? '-' : count.toLocaleString('en')]),
    formatBytes(size),
  ];
  const rows = kinds.map((kind) => row(kind === 'ffn' ? 'FFN' : kind, parameters?.[kind], bytes[kind]));
  const header = ['weights', ...(parameters === undefined ? [] : ['parameters']), 'size'];
  return table(header, [...rows, row('all', parameters && all(parameters), all(bytes))]);
}

/** "int4 in blocks of 32, embedding and head int8". */
/** `mix`: the precisions that a plan stores blocks in, where they have their own. */
export function storageText(
  { precision, blocks, vocabulary }: Manifest['models'][number],
  mix: readonly Pick<Precision, 'name'>[] = [],
): string {
  const names = [...new Set(mix.map(({ name }) => name))];
  if (names.length > 0) return `${listed(names, 'and')} by block, embedding and head ${vocabulary}`;
  if (blocks === undefined) return precision;
  const zeroPoints = blocks.symmetric ? '' : ' with zero points';
  return `${precision} in blocks of ${blocks.blockSize}${zeroPoints}, embedding and head ${vocabulary}`;
}

export function checkpointText(checkpoint: CheckpointSummary, width: number): string {
  const { spec, layout, problems } = checkpoint;
  const tensors = `${counted(checkpoint.tensors, 'tensor')}: ${dtypesText(checkpoint.bytesByDtype)}`;
  return [
    spec === undefined ? problemsText(problems) : specText(spec),
    [...(layout === undefined ? [] : [layoutText(layout, width)]), extrasText(checkpoint), tensors].join('\n'),
    partsText(checkpoint.parametersByKind, checkpoint.bytesByKind),
  ].join('\n\n');
}

function dtypesText(bytesByDtype: Readonly<Record<string, number>>): string {
  return Object.entries(bytesByDtype)
    .map(([dtype, bytes]) => `${dtype} ${formatBytes(bytes)}`)
    .join(', ');
}

function problemsText(problems: readonly string[]): string {
  return ['cannot be converted:', ...problems.map((problem) => `  ${problem.replaceAll('\n', '\n  ')}`)].join('\n');
}

export function adapterText(adapter: AdapterSummary, width: number): string {
  const { type, rank = '?', alpha = '?', baseModel, modules } = adapter;
  const scale = adapter.rankStabilised ? ', rank-stabilised' : '';
  const changed = Object.entries(modules).map(([name, count]) => `${count} ${name}`);
  const parameters = adapter.parameters.toLocaleString('en');
  return [
    `${type === 'LORA' ? 'LoRA' : type} adapter: rank ${rank}, alpha ${alpha}${scale}`,
    `trained on ${baseModel ?? 'a model that it does not name'}`,
    wrap(`changes ${changed.length === 0 ? 'no matrix' : changed.join(', ')}`, width, '  '),
    `${counted(adapter.tensors, 'tensor')}, ${parameters} parameters: ${dtypesText(adapter.bytesByDtype)}`,
    adapter.problem === undefined ? 'merged by --adapter' : `cannot be merged: ${adapter.problem}`,
  ].join('\n');
}

/** Its interface and operators. The sizes of weights are shown elsewhere. */
export function graphText(graph: GraphSummary, width: number): string {
  const opsets = Object.entries(graph.opsets).map(([domain, version]) => `${domain || 'ai.onnx'} ${version}`);
  const operators = Object.entries(graph.operators).map(([name, count]) => [name, String(count)]);
  const parts = [
    `opsets ${opsets.join(', ')}; weights ${dtypesText(graph.bytesByDtype) || 'none'}`,
    foldedTable(['input', 'dtype', 'shape'], valueRows(graph.inputs), width),
    foldedTable(['output', 'dtype', 'shape'], valueRows(graph.outputs), width),
    table(['operator', 'count'], operators),
  ];
  if (graph.functions.length > 0) parts.push(wrap(`portable bodies: ${graph.functions.join(', ')}`, width, '  '));
  return parts.join('\n\n');
}

/** One row for each value. Values that differ only in their layer share a row, for example "present.0-11.key". */
function valueRows(values: GraphSummary['inputs']): string[][] {
  const rows = new Map<string, { readonly name: string; readonly cells: string[]; readonly layers: number[] }>();
  for (const { name, dtype, shape } of values) {
    const pattern = name.replace(/\.\d+\./, '.#.');
    const cells = [dtype, `[${shape.join(', ')}]`];
    const key = JSON.stringify([pattern, cells]);
    const row = rows.get(key) ?? { name: pattern, cells, layers: [] };
    rows.set(key, { ...row, layers: [...row.layers, Number(/\.(\d+)\./.exec(name)?.[1])] });
  }
  return [...rows.values()].map(({ name, cells, layers }) => {
    const range = layers.length === 1 ? `${layers[0]}` : `${Math.min(...layers)}-${Math.max(...layers)}`;
    return [name.replace('#', range), ...cells];
  });
}

/** Each layer's figures, folded to `width`, what follows from them, and what a plan should not take for granted. */
export function statisticsText({ layers, columns, follows, warnings }: StatisticsSummary, width: number): string {
  const header = ['layer', ...columns.map(({ title }) => title)];
  const rows = layers.map((figures) => [
    String(figures.layer),
    ...columns.map(({ figure, unit }) => figureText(figures[figure], unit)),
  ]);
  const notes = [...follows, ...warnings.map((warning) => `warning: ${warning}`)];
  return `${foldedTable(header, rows, width)}\n\n${notes.map((note) => wrap(note, width, '  ')).join('\n')}`;
}

function figureText(value: number, unit: StatisticsSummary['columns'][number]['unit']): string {
  return unit === '%' ? `${(100 * value).toFixed(2)} %` : value.toPrecision(4);
}

/** What a plan leaves out of each block, what holds for all of them, and each one's own reason where these are wanted. */
export function planText(plan: Plan, width: number, explain = false): string {
  // A preset may leave columns empty everywhere; these are dropped. A plan without blocks has all columns.
  const used = PLAN_COLUMNS.filter(
    ([, cell]) => plan.blocks.length === 0 || plan.blocks.some((block) => cell(block) !== '-'),
  );
  const header = used.map(([name]) => name);
  const rows = plan.blocks.map((block) => used.map(([, cell]) => cell(block)));
  const notes = (plan.notes ?? []).map((note) => wrap(note, width, '  '));
  const text = [...notes, ...(explain ? whyLines(plan, width) : [])];
  return [planHeading(plan), foldedTable(header, rows, width), text.join('\n')].filter(Boolean).join('\n\n');
}

const PLAN_COLUMNS: readonly (readonly [name: string, cell: (block: BlockPlan) => string])[] = [
  ['block', ({ block }) => block],
  ['stored as', ({ dtype }) => dtype ?? '-'],
  ['does', actionText],
  ['threshold', thresholdText],
  ['density', ({ expected }) => percentOrDash(expected.density)],
  ['kept energy', ({ expected }) => percentOrDash(expected.keptEnergy)],
  ['skipped', ({ expected }) => percentOrDash(expected.skipped)],
  ['KL', ({ expected }) => expected.kl?.toFixed(5) ?? '-'],
  ['fp32 bytes/token', ({ expected }) => formatBytes(expected.bytesPerToken)],
  ['of dense time', ({ expected }) => percentOrDash(expected.time)],
];

export function percentOrDash(share: number | null | undefined): string {
  return share === null || share === undefined ? '-' : percent(share);
}

function actionText(block: BlockPlan): string {
  const words: Readonly<Record<string, string | undefined>> = {
    choice: block.choice?.measure,
    skip: block.skip && `skip x${block.skip.runLength}`,
    repair: block.repair && `rank ${block.repair.rank}${block.repair.gate === undefined ? '' : ' or block'}`,
  };
  const actions = actionsOf(block).map((action) => words[action] ?? action);
  return actions.join(' + ') || 'nothing';
}

function thresholdText({ choice, skip, repair }: BlockPlan): string {
  const cut = choice === undefined || choice.cut.kind === 'deviation' ? undefined : choice.cut.threshold;
  const threshold = cut ?? skip?.threshold ?? repair?.gate?.threshold;
  return threshold === undefined ? '-' : threshold.toPrecision(4);
}

function planHeading({ preset, host, target, skipping, prefill, blocks }: Plan): string {
  const rearming = skipping?.reArm ? 're-arming' : 'one run a token';
  const skips =
    skipping === null
      ? ''
      : `, ${counted(skipping.warmUpTokens, 'warm-up token')}${blocks.some(({ skip }) => skip !== undefined) ? `, ${rearming}` : ''}`;
  const stock = host.kind === 'native' ? '' : `; for stock ONNX Runtime, ${host.dtype}`;
  return `preset ${preset}: ${targetText(target)}${skips}; prefill ${prefill}${stock}`;
}

export function targetText(target: Plan['target']): string {
  if (target === null) return 'nothing left out';
  const { kind, value } = target;
  return `${percent(value)} of ${TARGETS[kind].outcome}`;
}

function whyLines({ blocks, model }: Plan, width: number): string[] {
  const planned = new Set(blocks.map(({ block }) => block));
  const dense = Array.from({ length: model.numHiddenLayers }, (_, layer) => layer).filter(
    (layer) => !planned.has(`layers.${layer}.ffn`),
  );
  const lines = blocks.map(({ block, why }) => wrap(`why ${block}: ${why}`, width, '  '));
  return dense.length > 0 ? [...lines, `dense: ${layersText(dense)}`] : lines;
}
