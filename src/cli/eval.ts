/** `lacuna eval`. */
import { Option } from 'commander';
import { percent } from '../core/figures.ts';
import { engineText } from '../core/host-kind.ts';
import { FLOATS } from '../core/precision.ts';
import { type Engine, type EvaluateOptions, type EvaluateResult, evaluate } from '../index.ts';
import {
  againstAttendedOption,
  againstCacheOption,
  againstEngineOption,
  attendedOption,
  cacheOption,
  engineOption,
  type Flags,
  jobOptions,
  ownOptions,
  type RegisterCommand,
  withCommonOptions,
} from './command.ts';
import { percentOrDash, targetText } from './describe.ts';
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
    .addOption(cacheOption())
    .addOption(againstCacheOption())
    .addOption(attendedOption())
    .addOption(againstAttendedOption())
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
    context.print(options, result, (evaluation, width) => formatEvaluation(evaluation, width, layers));
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
  else if (modes.some(leavesOut)) parts.push(`trained to leave out: ${modes.map(realisedText).join('; ')}`);
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

function apartRow({ mode, rounded }: Mode): string[][] {
  if (rounded === null) return [];
  const cells = [rounded.rounding, rounded.leavingOut].flatMap(({ value, standardError }) => [
    value.toFixed(4),
    standardError?.toFixed(4) ?? '-',
  ]);
  return [[mode, ...cells]];
}

function realisedText({ mode, realised }: Mode): string {
  if (realised === null) return `${mode}: unknown`;
  const keys = realised.attendedKeys === null ? '' : `, ${realised.attendedKeys.toFixed(1)} attended keys`;
  return `${mode}: density ${percentOrDash(realised.density)}, skipped ${percent(realised.skippedShare)}${keys}`;
}

/** Without a plan, what it was trained to. */
function leavesOut({ realised }: Mode): boolean {
  return realised !== null && (realised.computedShare < 1 || realised.attendedKeys !== null);
}

function layerTable({ mode, realised }: Mode): string {
  if (realised === null) return `mode ${mode}: the model has no counts`;
  const withKeys = <Cell>(cells: Cell[], cell: Cell) => (realised.attendedKeys === null ? cells : [...cells, cell]);
  const rows = realised.layers.map(({ layer, density, skippedShare, attendedKeys }) =>
    withKeys([String(layer), percentOrDash(density), percent(skippedShare)], attendedKeys?.toFixed(1) ?? 'all'),
  );
  return `mode ${mode}\n${table(withKeys(['layer', 'density', 'skipped'], 'attended keys'), rows)}`;
}

type Mode = EvaluateResult['modes'][number];

/** Every figure of the table, under its heading there; some only where a mode has them. */
const COMPARED: readonly (readonly [heading: string, name: string, isIn?: (mode: Mode) => boolean])[] = [
  ['ppl', 'perplexity'],
  ['ratio, ±', 'perplexityRatio'],
  ['bound', 'upperBound'],
  ['by rounding', 'rounding', ({ rounded }) => rounded !== null],
  ['by leaving out', 'leavingOut', ({ rounded }) => rounded !== null],
  ['KL', 'meanKl'],
  ['same top-1', 'top1Agreement'],
  ['all', 'all', ({ mode }) => mode === 'all'],
  ['decode', 'decode', ({ mode }) => mode === 'decode'],
  ['density', 'density', ({ realised }) => realised !== null],
  ['skipped', 'skippedShare', ({ realised }) => realised !== null],
  ['attended keys', 'attendedKeys', ({ realised }) => realised !== null && realised.attendedKeys !== null],
];

function definitionsText({ perplexity, modes, definitions }: EvaluateResult, width: number): string {
  const alone: typeof COMPARED = [['perplexity', 'perplexity']];
  const shown = perplexity === undefined ? COMPARED : alone;
  return shown
    .filter(([, , isIn]) => isIn === undefined || modes.some(isIn))
    .map(([heading, name]) => wrap(`${heading}: ${definitions[name].replace(/^mode "\w+": /, '')}`, width, '  '))
    .join('\n');
}
