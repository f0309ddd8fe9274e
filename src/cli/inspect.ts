/** `lacuna inspect`. */
import { formatBytes, formatFlops } from '../core/figures.ts';
import { leavesOut, mixOf } from '../core/plan.ts';
import { type DecodeWork, type Inspection, inspect, type PrecisionName } from '../index.ts';
import { type CommonOptions, type RegisterCommand, sourceOptions, withCommonOptions } from './command.ts';
import {
  adapterText,
  checkpointText,
  extrasText,
  graphText,
  layoutText,
  partsText,
  planText,
  specText,
  statisticsText,
  storageText,
} from './describe.ts';
import { positiveInteger } from './parse.ts';
import { foldedTable, table, wrapText } from './table.ts';
import { checksText } from './verify.ts';

interface Options extends CommonOptions {
  readonly explain?: boolean;
  readonly dtype?: PrecisionName;
  readonly download: boolean;
  readonly cachedTokens?: number;
}

export const registerInspect: RegisterCommand = (program, context) => {
  const command = program
    .command('inspect')
    .description('show what a checkpoint, adapter, model folder, .onnx, statistics or plan file holds')
    .argument('<path>', 'path to show, or owner/name on the Hub')
    .option('--dtype <name>', 'precision to show, where a folder has several (default: its first)')
    .option('--cached-tokens <n>', 'tokens before the one whose operations are counted (default 4096)', positiveInteger)
    .option('--no-download', 'of a model on the Hub, say only what there is to download')
    .option('--explain', 'give the reason for every block of a plan');
  withCommonOptions(command).action(async (path: string, options: Options) => {
    const { dtype, download, cachedTokens } = options;
    const found = await inspect(path, { ...sourceOptions(options, context), dtype, download, cachedTokens });
    context.print(options, found, (result, width) => format(result, width, options.explain ?? false));
    if (found.problems.length > 0) context.fail();
  });
};

function format(found: Inspection, width: number, explain: boolean): string {
  switch (found.kind) {
    case 'checkpoint':
      return checkpointText(found.checkpoint, width);
    case 'adapter':
      return adapterText(found.adapter, width);
    case 'hub':
      return hubText(found);
    case 'folder':
      return folderText(found, width, explain);
    case 'onnx':
      return `${partsText(undefined, found.graph.bytesByKind)}\n\n${graphText(found.graph, width)}`;
    case 'statistics':
      return `${measuredText(found)}\n\n${statisticsText(found.summary, width)}`;
    case 'plan':
      return planText(found.plan, width, explain);
  }
}

function hubText({ id, commit, files, missingBytes }: Extract<Inspection, { kind: 'hub' }>): string {
  const rows = files.map(({ name, bytes }) => [name, formatBytes(bytes)]);
  const missing = missingBytes === 0 ? 'all of it is here' : `${formatBytes(missingBytes)} of it to download`;
  return `${id} at ${commit.slice(0, 12)}: ${missing}\n\n${table(['file', 'size'], rows)}`;
}

const NOT_MEASURED = 'Neither quality nor speed was measured: lacuna eval DIR --against FP32-DIR, lacuna bench DIR.';

function folderText(found: Extract<Inspection, { kind: 'folder' }>, width: number, explain: boolean): string {
  const { manifest, model, graph, decode, layout, verdict } = found;
  const { spec, lacuna, models, plan, checks = [], files } = manifest;
  const sizeOf = (file: string) =>
    files.reduce((sum, { path, bytes }) => (path === file || path === `${file}_data` ? sum + bytes : sum), 0);
  const rows = models.map((one) => [
    one.file,
    storageText(one, plan === null ? [] : [...mixOf(plan).values()]),
    formatBytes(sizeOf(one.file)),
    one.onnxruntime,
  ]);
  const about = [
    ...(layout === undefined ? [] : [layoutText(layout, width)]),
    extrasText(found),
    `${leavesOut(plan) ? 'sparse' : 'dense'}, made by lacuna ${lacuna}${!leavesOut(plan) && checks.length === 0 ? ', not verified' : ''}`,
  ];
  return [
    specText(spec),
    about.join('\n'),
    wrapText(verdict ?? NOT_MEASURED, width),
    foldedTable(['model', 'precision', 'size', 'ONNX Runtime'], rows, width),
    `${models.length === 1 ? '' : `${model.file}:\n\n`}${partsText(layout?.parameters, graph.bytesByKind)}`,
    ...(decode === undefined ? [] : [wrapText(decodeText(decode), width)]),
    graphText(graph, width),
    ...(plan === null ? [] : [planText(plan, width, explain)]),
    ...(checks.length === 0 ? [] : [checksText(checks, width)]),
  ].join('\n\n');
}

/** "a token after 4096 others: 3.1 MFLOP and 0.5 MFLOP for the head; ..." */
function decodeText({ cachedTokens, flops, headFlops, weightBytes, headBytes, cacheBytes }: DecodeWork): string {
  const operations = `${formatFlops(flops)} and ${formatFlops(headFlops)} for the head`;
  const bytes = `${formatBytes(weightBytes)} of weights, ${formatBytes(headBytes)} of the head, ${formatBytes(cacheBytes)} of the cache`;
  return `a token after ${cachedTokens} others: ${operations}; reads ${bytes}`;
}

function measuredText({ model, texts }: Extract<Inspection, { kind: 'statistics' }>): string {
  const { modelType, numHiddenLayers, hiddenSize, intermediateSize, fingerprint } = model;
  const measured = texts.map(({ name, tokens }) => `${tokens} tokens of ${name}`).join(', ');
  const sizes = `${numHiddenLayers} layers, hidden ${hiddenSize}, FFN ${intermediateSize}`;
  return `${modelType}: ${sizes} (${fingerprint.slice(0, 12)}), measured on ${measured}`;
}
