/** `lacuna eval`. */
import { Option } from 'commander';
import { percent } from '../core/figures.ts';
import { FLOATS } from '../core/precision.ts';
import { type Engine, type EvaluateOptions, type EvaluateResult, evaluate } from '../index.ts';
import {
  againstEngineOption,
  engineOption,
  type Flags,
  jobOptions,
  ownOptions,
  print,
  type RegisterCommand,
  withCommonOptions,
} from './command.ts';
import { engineText, targetText } from './describe.ts';
import { budget, positiveInteger } from './parse.ts';
import { foldedTable, table, wrap } from './table.ts';

type Options = Flags<EvaluateOptions, 'folder' | 'modes'> & {
  readonly mode: 'all' | 'decode' | 'both';
  readonly layers?: boolean;
};

export const registerEval: RegisterCommand = (program, context) => {
  const command = program
    .command('eval')
    .description('measure perplexity, and with a baseline the cost of rounding and leaving out')
    .argument('<dir>', 'folder made by convert, sparsify or build')
    .option('--against <dir>', `baseline: a folder of the same checkpoint; for a budget its dense ${FLOATS} folder`)
    .option('--dtype <name>', 'precision to measure, where the folder has several (default: its first)')
    .option('--against-dtype <name>', "the baseline's precision; without --against it is one of the same folder")
    .addOption(engineOption('runs the model'))
    .addOption(againstEngineOption('runs'))
    .option('--data <file...>', 'texts, UTF-8 or JSONL, to score (default: the pinned "test" text)')
    .option('--tokens <n>', 'score at least this many tokens (default 20000)', positiveInteger)
    .option('--window <n>', 'tokens a window (default 512)', positiveInteger)
    .addOption(
      new Option('--mode <which>', 'which tokens the model runs').choices(['all', 'decode', 'both']).default('both'),
    )
    .option(
      '--max-ppl-ratio <r>',
      "exit with 1 if the ratio to the checkpoint's floats, with its error, may exceed this: 1.02 or 2%",
      budget,
    )
    .option('--layers', 'show realised sparsity of each layer');
  withCommonOptions(command).action(async (folder: string, options: Options) => {
    const { mode, layers = false, ...own } = ownOptions(options);
    const modes = mode === 'both' ? undefined : [mode];
    const job = jobOptions(options, context);
    const result = await evaluate({ ...own, nativeFolder: context.io.nativeFolder, folder, modes, ...job });
    print(context.io, options, result, (evaluation, width) => formatEvaluation(evaluation, width, layers));
    if (result.check?.passed === false) context.fail();
  });
};

/** What was measured, as a table, with the meaning of each figure. */
function formatEvaluation(result: EvaluateResult, width: number, layers: boolean): string {
  const parts =
    result.perplexity === undefined
      ? comparisonParts(result, width, layers)
      : [wrap(perplexityText(result.perplexity, result.engine), width, '  ')];
  parts.push(definitionsText(result, width));
  if (result.check !== undefined) parts.push(wrap(checkText(result.check), width, '  '));
  return parts.join('\n\n');
}

function checkText({ maxPplRatio, upperBound, passed }: NonNullable<EvaluateResult['check']>): string {
  const bound = `the ratio to the checkpoint's floats is below ${upperBound.toFixed(4)}, wanted at most ${maxPplRatio}`;
  return `check: ${passed ? 'passed' : 'FAILED'}: ${bound}`;
}

function perplexityText(measured: NonNullable<EvaluateResult['perplexity']>, engine: Engine): string {
  const { perplexity, scoredTokens, windows, windowLength } = measured;
  return `perplexity ${perplexity.toFixed(4)} over ${scoredTokens} tokens (${windows} windows of ${windowLength}), in ${engineText(engine)}`;
}

const COLUMNS = ['mode', 'scored', 'baseline', 'ppl', 'ratio', '±', 'bound', 'KL', 'same top-1'];

function comparisonParts(result: EvaluateResult, width: number, layers: boolean): string[] {
  const { modes, target } = result;
  const rows = modes.map((mode) => [
    mode.mode,
    String(mode.scoredTokens),
    mode.baseline.perplexity.toFixed(4),
    mode.model.perplexity.toFixed(4),
    mode.perplexityRatio.value.toFixed(4),
    mode.perplexityRatio.standardError?.toFixed(4) ?? '-',
    mode.perplexityRatio.upperBound?.toFixed(4) ?? '-',
    mode.meanKl.toFixed(4),
    percent(mode.top1Agreement),
  ]);
  const parts = [foldedTable(COLUMNS, rows, width)];
  parts.push(wrap(enginesText(result), width, '  '));
  if (modes.some(({ rounded }) => rounded !== null)) parts.push(table(APART, modes.flatMap(apartRow)));
  if (target !== undefined)
    parts.push(`target: ${targetText(target)}; realised: ${modes.map(realisedText).join('; ')}`);
  if (layers) parts.push(...modes.map(layerTable));
  return parts;
}

/** "baseline: fp32; model: int8; both in the native core". */
function enginesText({ precision, engine, againstPrecision, againstEngine = engine }: EvaluateResult): string {
  if (engine === againstEngine)
    return `baseline: ${againstPrecision}; model: ${precision}; both in ${engineText(engine)}`;
  return `baseline: ${againstPrecision} in ${engineText(againstEngine)}; model: ${precision} in ${engineText(engine)}`;
}

const APART = ['mode', 'by rounding', '±', 'by leaving out', '±'];

function apartRow({ mode, rounded }: EvaluateResult['modes'][number]): string[][] {
  if (rounded === null) return [];
  const cells = [rounded.rounding, rounded.leavingOut].flatMap(({ value, standardError }) => [
    value.toFixed(4),
    standardError?.toFixed(4) ?? '-',
  ]);
  return [[mode, ...cells]];
}

function realisedText({ mode, realised }: EvaluateResult['modes'][number]): string {
  if (realised === null) return `${mode}: unknown`;
  return `${mode}: density ${shareOrDash(realised.density)}, skipped ${percent(realised.skippedShare)}`;
}

function layerTable({ mode, realised }: EvaluateResult['modes'][number]): string {
  if (realised === null) return `mode ${mode}: the model has no counts`;
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

/** Every figure of the table, under its heading there. */
const COMPARED = {
  ppl: 'perplexity',
  'ratio, ±': 'perplexityRatio',
  bound: 'upperBound',
  'by rounding': 'rounding',
  'by leaving out': 'leavingOut',
  KL: 'meanKl',
  'same top-1': 'top1Agreement',
  all: 'all',
  decode: 'decode',
  density: 'density',
  skipped: 'skippedShare',
} as const;

/** Leaves out modes that were not asked for, and losses that are not separated. */
function isShown(name: string, modes: EvaluateResult['modes']): boolean {
  if (name === 'all' || name === 'decode') return modes.some(({ mode }) => mode === name);
  if (name === 'rounding' || name === 'leavingOut') return modes.some(({ rounded }) => rounded !== null);
  if (name === 'density' || name === 'skippedShare') return modes.some(({ realised }) => realised !== null);
  return true;
}

function definitionsText({ perplexity, modes, definitions }: EvaluateResult, width: number): string {
  const shown = perplexity === undefined ? Object.entries(COMPARED) : [['perplexity', 'perplexity']];
  const measured = shown.filter(([, name]) => isShown(name, modes));
  return measured
    .map(([heading, name]) => wrap(`${heading}: ${definitions[name].replace(/^mode "\w+": /, '')}`, width, '  '))
    .join('\n');
}
