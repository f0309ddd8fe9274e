/** `lacuna eval`. */
import { Option } from 'commander';
import { type EvaluateResult, evaluate } from '../index.ts';
import { type CommonOptions, jobOptions, print, type RegisterCommand, withCommonOptions } from './command.ts';
import { defaultText } from './data.ts';
import { targetText } from './describe.ts';
import { percent } from './figures.ts';
import { positiveInteger, positiveNumber } from './parse.ts';
import { table, wrap } from './table.ts';

interface Options extends CommonOptions {
  readonly against?: string;
  readonly dtype?: string;
  readonly againstDtype?: string;
  readonly data?: readonly string[];
  readonly tokens?: number;
  readonly window?: number;
  readonly mode: 'all' | 'decode' | 'both';
  readonly maxPplRatio?: number;
  readonly layers?: boolean;
}

export const registerEval: RegisterCommand = (program, context) => {
  const command = program
    .command('eval')
    .description('measure perplexity, and against a dense baseline what sparsity cost')
    .argument('<dir>', 'folder made by convert, sparsify or build')
    .option('--against <dir>', 'dense folder of the same checkpoint')
    .option('--dtype <name>', 'precision to measure, where the folder has several (default: its first)')
    .option('--against-dtype <name>', "the baseline's precision; without --against it is one of the same folder")
    .option('--data <file...>', 'texts, UTF-8 or JSONL, to score (default: the pinned "test" text)')
    .option('--tokens <n>', 'score at least this many tokens (default 20000)', positiveInteger)
    .option('--window <n>', 'tokens a window (default 512)', positiveInteger)
    .addOption(
      new Option('--mode <which>', 'which tokens run sparse').choices(['all', 'decode', 'both']).default('both'),
    )
    .option('--max-ppl-ratio <r>', 'exit with 1 when the perplexity ratio is above this', positiveNumber)
    .option('--layers', 'show realised sparsity of each layer');
  withCommonOptions(command).action(async (folder: string, options: Options) => {
    const { mode, data = [defaultText(context.io, 'test')] } = options;
    const modes = mode === 'both' ? undefined : [mode];
    const job = jobOptions(options, context);
    const result = await evaluate({ ...options, folder, data, modes, ...job });
    print(context.io, options, result, (evaluation, width) =>
      formatEvaluation(evaluation, width, options.layers ?? false),
    );
    if (result.check?.passed === false) context.fail();
  });
};

/** What was measured, as a table, and what each figure means. */
export function formatEvaluation(result: EvaluateResult, width: number, layers = false): string {
  const parts = result.perplexity === undefined ? comparisonParts(result, layers) : [perplexityText(result.perplexity)];
  parts.push(definitionsText(result, width));
  if (result.check !== undefined) {
    parts.push(`check: ratio at most ${result.check.maxPplRatio}: ${result.check.passed ? 'passed' : 'FAILED'}`);
  }
  return parts.join('\n\n');
}

function perplexityText(measured: NonNullable<EvaluateResult['perplexity']>): string {
  const { perplexity, scoredTokens, windows, windowLength } = measured;
  return `perplexity ${perplexity.toFixed(4)} over ${scoredTokens} tokens (${windows} windows of ${windowLength})`;
}

const COLUMNS = ['mode', 'scored', 'dense ppl', 'sparse ppl', 'ratio', '±', 'KL', 'same top-1', 'density', 'skipped'];

function comparisonParts(result: EvaluateResult, layers: boolean): string[] {
  const { modes, target, precision, againstPrecision } = result;
  const rows = modes.map((mode) => [
    mode.mode,
    String(mode.scoredTokens),
    mode.dense.perplexity.toFixed(4),
    mode.sparse.perplexity.toFixed(4),
    mode.perplexityRatio.toFixed(4),
    mode.perplexityRatioStandardError?.toFixed(4) ?? '-',
    mode.meanKl.toFixed(4),
    percent(mode.top1Agreement),
    shareOrDash(mode.realised?.density),
    shareOrDash(mode.realised?.skippedShare),
  ]);
  const parts = [table(COLUMNS, rows)];
  if (precision !== againstPrecision) parts.push(`${precision} against ${againstPrecision}`);
  if (target !== undefined) parts.push(`target: ${targetText(target)}`);
  if (layers) parts.push(...modes.map(layerTable));
  return parts;
}

function layerTable({ mode, realised }: EvaluateResult['modes'][number]): string {
  if (realised === null) return `mode ${mode}: the model tells no counts`;
  const rows = realised.layers.map(({ layer, density, skippedShare }) => [
    String(layer),
    shareOrDash(density),
    percent(skippedShare),
  ]);
  return `mode ${mode}\n${table(['layer', 'density', 'skipped'], rows)}`;
}

function shareOrDash(share: number | null | undefined): string {
  return share === null || share === undefined ? '-' : percent(share);
}

/** Every figure of the table, under the heading it has there. */
const COMPARED = {
  ppl: 'perplexity',
  'ratio, ±': 'perplexityRatio',
  KL: 'meanKl',
  'same top-1': 'top1Agreement',
  all: 'all',
  decode: 'decode',
  density: 'density',
  skipped: 'skippedShare',
} as const;

function definitionsText({ perplexity, modes, definitions }: EvaluateResult, width: number): string {
  const shown = perplexity === undefined ? Object.entries(COMPARED) : [['perplexity', 'perplexity']];
  const measured = shown.filter(
    ([, name]) => !['all', 'decode'].includes(name) || modes.some(({ mode }) => mode === name),
  );
  return measured
    .map(([heading, name]) => wrap(`${heading}: ${definitions[name].replace(/^mode "\w+": /, '')}`, width, '  '))
    .join('\n');
}
