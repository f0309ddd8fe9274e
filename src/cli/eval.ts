/** `lacuna eval`. */
import { Option } from 'commander';
import { type EvaluateResult, evaluate } from '../index.ts';
import {
  type CommonOptions,
  jobOptions,
  positiveInteger,
  positiveNumber,
  print,
  type RegisterCommand,
  withCommonOptions,
} from './command.ts';
import { defaultText } from './data.ts';
import { percent, table } from './table.ts';

interface Options extends CommonOptions {
  readonly against?: string;
  readonly data?: readonly string[];
  readonly tokens?: number;
  readonly window?: number;
  readonly mode: 'all' | 'decode' | 'both';
  readonly maxPplRatio?: number;
  readonly layers?: boolean;
}

export const registerEval: RegisterCommand = (program, { io, fail }) => {
  const command = program
    .command('eval')
    .description('measure perplexity, and against a dense baseline what sparsity cost')
    .argument('<dir>', 'folder made by convert, sparsify or build')
    .option('--against <dir>', 'dense folder of the same checkpoint')
    .option('--data <file...>', 'UTF-8 texts to score (default: the pinned "test" text)')
    .option('--tokens <n>', 'score at least this many tokens (default 20000)', positiveInteger)
    .option('--window <n>', 'tokens a window (default 512)', positiveInteger)
    .addOption(
      new Option('--mode <which>', 'which tokens run sparse').choices(['all', 'decode', 'both']).default('both'),
    )
    .option('--max-ppl-ratio <r>', 'exit with 1 when the perplexity ratio is above this', positiveNumber)
    .option('--layers', 'show realised sparsity of each layer');
  withCommonOptions(command).action(async (folder: string, options: Options) => {
    const { mode, data = [defaultText(io, 'test')] } = options;
    const modes = mode === 'both' ? undefined : [mode];
    const result = await evaluate({ ...options, folder, data, modes, ...jobOptions(options, io) });
    print(io, options, result, (evaluation) => formatEvaluation(evaluation, options.layers ?? false));
    if (result.check?.passed === false) fail();
  });
};

export function formatEvaluation(result: EvaluateResult, layers = false): string {
  if (result.perplexity !== undefined) {
    const { perplexity, scoredTokens, windows, windowLength } = result.perplexity;
    const parts = [
      `perplexity ${perplexity.toFixed(4)} over ${scoredTokens} tokens (${windows} windows of ${windowLength})`,
    ];
    return [...parts, '', ...definitions(result, ['perplexity'])].join('\n');
  }
  const rows = result.modes.map((mode) => [
    mode.mode,
    String(mode.scoredTokens),
    mode.dense.perplexity.toFixed(4),
    mode.sparse.perplexity.toFixed(4),
    mode.perplexityRatio.toFixed(4),
    mode.perplexityRatioStandardError?.toFixed(4) ?? '-',
    mode.meanKl.toFixed(4),
    percent(mode.top1Agreement),
    mode.realised?.density === undefined || mode.realised.density === null ? '-' : percent(mode.realised.density),
    mode.realised === null ? '-' : percent(mode.realised.skippedShare),
  ]);
  const header = [
    'tokens',
    'scored',
    'dense ppl',
    'sparse ppl',
    'ratio',
    '±',
    'KL',
    'same top-1',
    'density',
    'skipped',
  ];
  const parts = [table(header, rows), ''];
  if (result.target !== undefined) {
    parts.push(
      `target: ${percent(result.target.value)} ${result.target.kind === 'density' ? 'of neurons kept' : 'of blocks skipped'}`,
      '',
    );
  }
  if (layers) parts.push(...result.modes.flatMap((mode) => [layerTable(mode), '']));
  parts.push(
    ...definitions(result, [
      'perplexity',
      'perplexityRatio',
      'meanKl',
      'top1Agreement',
      'all',
      'decode',
      'density',
      'skippedShare',
    ]),
  );
  if (result.check !== undefined) {
    parts.push('', `check: ratio at most ${result.check.maxPplRatio}: ${result.check.passed ? 'passed' : 'FAILED'}`);
  }
  return parts.join('\n');
}

function layerTable({ mode, realised }: EvaluateResult['modes'][number]): string {
  if (realised === null) return `mode ${mode}: the model tells no counts`;
  const rows = realised.layers.map(({ layer, density, skippedShare }) => [
    String(layer),
    density === null ? '-' : percent(density),
    percent(skippedShare),
  ]);
  return `mode ${mode}\n${table(['layer', 'density', 'skipped'], rows)}`;
}

function definitions(result: EvaluateResult, names: readonly string[]): string[] {
  return names.map((name) => `${name}: ${result.definitions[name]}`);
}
