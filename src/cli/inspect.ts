/** `lacuna inspect`, and the tables of statistics and plans that other commands print too. */
import {
  type CheckpointSummary,
  type GraphSummary,
  type Inspection,
  inspect,
  type ModelSpec,
  type Plan,
  type StatisticsSummary,
} from '../index.ts';
import { type CommonOptions, jobOptions, print, type RegisterCommand, withCommonOptions } from './command.ts';
import { formatBytes } from './progress.ts';
import { percent, table } from './table.ts';

export const registerInspect: RegisterCommand = (program, { io }) => {
  const command = program
    .command('inspect')
    .description('show what a checkpoint, model folder, .onnx, statistics or plan file holds')
    .argument('<path>', 'what to look at');
  withCommonOptions(command).action(async (path: string, options: CommonOptions) => {
    print(io, options, await inspect(path, jobOptions(options, io)), format);
  });
};

function format(found: Inspection): string {
  switch (found.kind) {
    case 'checkpoint':
      return checkpointText(found.checkpoint);
    case 'folder': {
      const { manifest, graph } = found;
      const parts = [
        specText(manifest.spec),
        `made by lacuna ${manifest.lacuna}, ${manifest.precision}, ONNX Runtime ${manifest.onnxruntime}`,
      ];
      return [...parts, '', graphText(graph), ...(manifest.plan === null ? [] : ['', planTable(manifest.plan)])].join(
        '\n',
      );
    }
    case 'onnx':
      return graphText(found.graph);
    case 'statistics':
      return statisticsTable(found.summary);
    case 'plan':
      return planTable(found.plan);
  }
}

function specText(spec: ModelSpec): string {
  return [
    `${spec.architecture} (${spec.modelType})`,
    `${spec.numHiddenLayers} layers, hidden ${spec.hiddenSize}, FFN ${spec.intermediateSize} (${spec.hiddenAct})`,
    `${spec.numAttentionHeads} heads of ${spec.headDim}, ${spec.numKeyValueHeads} for keys and values, context ${spec.contextLength}, vocabulary ${spec.vocabSize}`,
  ].join('\n');
}

function checkpointText(checkpoint: CheckpointSummary): string {
  const rows = Object.entries(checkpoint.bytesByDtype).map(([dtype, bytes]) => [dtype, formatBytes(bytes)]);
  return [
    checkpoint.spec === undefined ? `cannot be converted: ${checkpoint.problem}` : specText(checkpoint.spec),
    `${checkpoint.tensors} tensors, ${(checkpoint.parameters / 1e6).toFixed(1)} million parameters, tokenizer: ${checkpoint.hasTokenizer ? 'yes' : 'none'}`,
    '',
    table(['dtype', 'size'], rows),
  ].join('\n');
}

function graphText(graph: GraphSummary): string {
  const shape = ({ name, dtype, shape: dims }: GraphSummary['inputs'][number]) => [name, dtype, `[${dims.join(', ')}]`];
  const operators = Object.entries(graph.operators).map(([name, count]) => [name, String(count)]);
  return [
    `opsets ${Object.entries(graph.opsets)
      .map(([domain, version]) => `${domain || 'ai.onnx'} ${version}`)
      .join(', ')}; weights ${formatBytes(graph.weightBytes)}`,
    '',
    table(['input', 'dtype', 'shape'], graph.inputs.map(shape)),
    '',
    table(['output', 'dtype', 'shape'], graph.outputs.map(shape)),
    '',
    table(['operator', 'count'], operators),
    ...(graph.functions.length === 0 ? [] : ['', `portable bodies: ${graph.functions.join(', ')}`]),
  ].join('\n');
}

export function statisticsTable({ layers, saturated, warnings }: StatisticsSummary): string {
  const columns = Object.keys(layers[0] ?? { layer: 0 });
  const rows = layers.map((figures) =>
    columns.map((name) => (name === 'layer' ? String(figures[name]) : figures[name].toPrecision(4))),
  );
  const region = `saturated: layers ${saturated.start} to ${saturated.end - 1}${saturated.spearman === null ? '' : `, Spearman ${saturated.spearman.toFixed(2)}`}`;
  return [table(columns, rows), '', region, ...warnings.map((warning) => `warning: ${warning}`)].join('\n');
}

export function planTable(plan: Plan): string {
  const dash = (figure: number | undefined) => (figure === undefined ? '-' : percent(figure));
  const rows = plan.blocks.map(({ block, select, skip, expected, why }) => [
    block,
    [select === undefined ? '' : select.kind, skip === undefined ? '' : `skip x${skip.runLength}`]
      .filter(Boolean)
      .join(' + '),
    (select?.kind === 'threshold' ? select.threshold : (skip?.threshold ?? select?.density ?? 0)).toPrecision(4),
    dash(expected.density),
    dash(expected.skipped),
    formatBytes(expected.bytesPerToken),
    why,
  ]);
  const target = `${percent(plan.target.value)} ${plan.target.kind === 'density' ? 'of neurons kept' : 'of FFN blocks skipped'}`;
  const skipping =
    plan.skipping === null
      ? ''
      : `, ${plan.skipping.warmUpTokens} warm-up tokens, ${plan.skipping.reArm ? 're-arming' : 'one run a token'}`;
  return [
    `preset ${plan.preset}: ${target}${skipping}; prefill ${plan.prefill}`,
    '',
    table(['block', 'does', 'threshold', 'density', 'skipped', 'FFN bytes/token', 'why'], rows),
  ].join('\n');
}
