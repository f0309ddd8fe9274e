/** Models, graphs, statistics and plans as text: what `inspect` shows, and other commands of what they made. */
import type { CheckpointSummary, GraphSummary, Manifest, ModelSpec, Plan, StatisticsSummary } from '../index.ts';
import { formatBytes, percent } from './figures.ts';
import { foldedTable, table, wrap } from './table.ts';

export function specText(spec: ModelSpec): string {
  return [
    `${spec.architecture} (${spec.modelType})`,
    `${spec.numHiddenLayers} layers, hidden ${spec.hiddenSize}, FFN ${spec.intermediateSize} (${spec.hiddenAct})`,
    `${spec.numAttentionHeads} heads of ${spec.headDim}, ${spec.numKeyValueHeads} for keys and values, context ${spec.contextLength}, vocabulary ${spec.vocabSize}`,
  ].join('\n');
}

/** "int4 in blocks of 32, embedding and head int8". */
export function storageText({ precision, blocks, vocabulary }: Manifest['models'][number]): string {
  if (blocks === undefined) return precision;
  const zeroPoints = blocks.symmetric ? '' : ' with zero points';
  return `${precision} in blocks of ${blocks.blockSize}${zeroPoints}, embedding and head ${vocabulary}`;
}

export function checkpointText(checkpoint: CheckpointSummary): string {
  const rows = Object.entries(checkpoint.bytesByDtype).map(([dtype, bytes]) => [dtype, formatBytes(bytes)]);
  return [
    checkpoint.spec === undefined ? `cannot be converted: ${checkpoint.problem}` : specText(checkpoint.spec),
    `${checkpoint.tensors} tensors, ${(checkpoint.parameters / 1e6).toFixed(1)} million parameters, tokenizer: ${checkpoint.hasTokenizer ? 'yes' : 'none'}`,
    '',
    table(['dtype', 'size'], rows),
  ].join('\n');
}

export function graphText(graph: GraphSummary, width: number): string {
  const opsets = Object.entries(graph.opsets).map(([domain, version]) => `${domain || 'ai.onnx'} ${version}`);
  const operators = Object.entries(graph.operators).map(([name, count]) => [name, String(count)]);
  const parts = [
    `opsets ${opsets.join(', ')}; weights ${formatBytes(graph.weightBytes)}`,
    table(['input', 'dtype', 'shape'], valueRows(graph.inputs)),
    table(['output', 'dtype', 'shape'], valueRows(graph.outputs)),
    table(['operator', 'count'], operators),
  ];
  if (graph.functions.length > 0) parts.push(wrap(`portable bodies: ${graph.functions.join(', ')}`, width, '  '));
  return parts.join('\n\n');
}

/** One row a value; those that differ only in their layer share one, as "present.0-11.key". */
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

/** The figures of each layer, folded to `width`, the saturated region and what plans should not take for granted. */
export function statisticsText({ layers, saturated, warnings }: StatisticsSummary, width: number): string {
  const columns = Object.keys(layers[0] ?? { layer: 0 });
  const rows = layers.map((figures) =>
    columns.map((name) => (name === 'layer' ? String(figures[name]) : figures[name].toPrecision(4))),
  );
  const rank = saturated.spearman === null ? '' : `, Spearman ${saturated.spearman.toFixed(2)}`;
  const region = `saturated: layers ${saturated.start} to ${saturated.end - 1}${rank}`;
  const notes = warnings.map((warning) => wrap(`warning: ${warning}`, width, '  '));
  return `${foldedTable(columns, rows, width)}\n\n${[region, ...notes].join('\n')}`;
}

/** What a plan leaves out of each block, and why: of the first block, which speaks for the others, or of all. */
export function planText(plan: Plan, width: number, explain = false): string {
  const dash = (figure: number | undefined) => (figure === undefined ? '-' : percent(figure));
  const rows = plan.blocks.map((block) => [
    block.block,
    actionText(block),
    thresholdText(block),
    dash(block.expected.density),
    dash(block.expected.keptEnergy),
    dash(block.expected.skipped),
    formatBytes(block.expected.bytesPerToken),
  ]);
  const columns = ['block', 'does', 'threshold', 'density', 'kept energy', 'skipped', 'FFN bytes/token'];
  // A preset leaves some columns empty everywhere.
  const used = columns.flatMap((_, column) => (rows.some((row) => row[column] !== '-') ? [column] : []));
  const pick = (cells: readonly string[]) => used.map((column) => cells[column]);
  return [planHeading(plan), table(pick(columns), rows.map(pick)), whyText(plan, width, explain)].join('\n\n');
}

function actionText({ select, skip }: Plan['blocks'][number]): string {
  const actions = [select?.kind, skip === undefined ? undefined : `skip x${skip.runLength}`];
  return actions.filter((action) => action !== undefined).join(' + ') || 'nothing';
}

function thresholdText({ select, skip }: Plan['blocks'][number]): string {
  const threshold = select?.kind === 'threshold' ? select.threshold : skip?.threshold;
  return threshold === undefined ? '-' : threshold.toPrecision(4);
}

function planHeading({ preset, target, skipping, prefill }: Plan): string {
  const rearming = skipping?.reArm ? 're-arming' : 'one run a token';
  const skips = skipping === null ? '' : `, ${skipping.warmUpTokens} warm-up tokens, ${rearming}`;
  return `preset ${preset}: ${targetText(target)}${skips}; prefill ${prefill}`;
}

export function targetText({ kind, value }: Plan['target']): string {
  return `${percent(value)} ${kind === 'density' ? 'of neurons kept' : 'of FFN blocks skipped'}`;
}

function whyText({ blocks }: Plan, width: number, explain: boolean): string {
  const shown = explain ? blocks : blocks.slice(0, 1);
  const lines = shown.map(({ block, why }) => wrap(`why ${block}: ${why}`, width, '  '));
  return lines.join('\n');
}
