/** `lacuna build`. */
import type { Command } from 'commander';
import { LIMITS, parseBudget } from '../core/budget.ts';
import { LacunaError } from '../core/errors.ts';
import { formatBytes, percent } from '../core/figures.ts';
import { engineText } from '../core/host-kind.ts';
import { FLOATS, IN_BLOCKS } from '../core/precision.ts';
import { type SpeedVerdict, speedVerdict } from '../core/speed-verdict.ts';
import {
  type BuildComparison,
  type BuildDryRun,
  type BuildOptions,
  type BuildResult,
  type BuildTexts,
  build,
  buildAuto,
  type ComparedTarget,
  compareTargets,
  dryRunAuto,
  dryRunBuild,
  SPARSE_PRECISIONS,
} from '../index.ts';
import type { BuildRequest, Built } from '../wizard/index.ts';
import { autoDryRunText, autoText, checkAuto } from './auto.ts';
import {
  type CheckpointOptions,
  type CommandContext,
  type CommonOptions,
  cacheFolderOf,
  type Flags,
  type RegisterCommand,
  sourceOptions,
  storedAs,
  withCheckpointOptions,
  withCommonOptions,
} from './command.ts';
import { percentOrDash, targetText } from './describe.ts';
import { EXIT } from './io.ts';
import { positiveInteger, shares } from './parse.ts';
import { type PresetOptions, planOptions, withPresetOptions } from './presets.ts';
import { foldedTable, wrap } from './table.ts';

type Options = Flags<BuildOptions, 'cacheFolder' | 'checkpoint' | 'preset' | 'texts'> &
  Partial<PresetOptions> &
  Partial<BuildTexts> & { readonly budget?: string; readonly compare?: readonly number[]; readonly dryRun?: boolean };

export const registerBuild: RegisterCommand = (program, context) => {
  const command = program
    .command('build')
    .description('make the fastest model within a budget, or a sparse one by a preset; resumes where it was stopped')
    .argument('<checkpoint>', 'folder with config.json and safetensors, GGUF file, or owner/name on the Hub');
  const whole = withBuildOptions(command)
    .option(
      '--compare <shares>',
      'with --preset, measure its statistics, say what such targets are expected to give, as 80%,50%, and build nothing',
      shares,
    )
    .option('--dry-run', 'say what would be done and whether it can pay; measure and write nothing');
  withCommonOptions(whole).action(async (checkpoint: string, options: Options) => {
    const request = requestOf(checkpoint, options, context);
    const printDryRun = <T extends Pick<BuildDryRun, 'problem'>>(
      found: T,
      text: (found: T, width: number) => string,
    ) => {
      context.print(options, found, text);
      if (found.problem !== undefined) context.fail(EXIT.usage);
    };
    if (options.compare !== undefined) {
      if (request.kind === 'auto')
        throw new LacunaError('usage', '--compare: only a build by a preset has targets', {
          hint: 'Name a preset: --preset NAME.',
        });
      if (options.dryRun)
        throw new LacunaError('usage', '--compare measures statistics, and --dry-run measures nothing', {
          hint: 'Leave one of them out.',
        });
      context.print(options, await compareTargets({ ...request.options, targets: options.compare }), comparisonText);
    } else if (!options.dryRun) printBuilt(options, await runBuild(request), context);
    else if (request.kind === 'auto') printDryRun(await dryRunAuto(request.options), autoDryRunText);
    else printDryRun(await dryRunBuild(request.options), presetDryRunText);
  });
};

/** The options that say what to build. */
export function withBuildOptions(command: Command): Command {
  command
    .requiredOption('-o, --output <dir>', 'folder to make')
    .option(
      '--work <dir>',
      'keep finished stages here, also for other builds (default: <output>.build, until all is done)',
    )
    .option('--fit <file...>', `texts to measure statistics on, and to round ${IN_BLOCKS} by (default: pinned)`)
    .option('--choose <file...>', 'texts to choose a model or correct thresholds on (default: pinned)')
    .option('--test <file...>', 'texts to take the figures from (default: pinned)')
    .option('--tokens <n>', 'tokens to calibrate on and to score (default 20000)', positiveInteger)
    .option(
      '--budget <limits>',
      `write nothing and exit with 1 if the model does not keep to this: ${LIMITS.map(limitText).join('; ')}; with --preset, ppl alone`,
    )
    .option('--allow-slower', 'ship a model even if it decodes slower than the dense one')
    .option('--dtype <name>', storedAs('how weights are stored', SPARSE_PRECISIONS))
    .option('--force', 'replace an existing output');
  const searching = '--budget says what dense model to look for, each block in a precision of its own';
  return withPresetOptions(withCheckpointOptions(command, 'take'), 'what is installed here', searching);
}

export function requestOf(checkpoint: string, options: Options, context: CommandContext): BuildRequest {
  const { output, work, tokens, allowSlower, force, dtype, fit, choose, test, budget, preset } = options;
  const shared = { checkpoint, output, work, tokens, force, texts: { fit, choose, test } };
  const surroundings = surroundingsOf(options, context);
  if (preset === undefined) {
    checkAuto(options);
    return { kind: 'auto', options: { ...shared, ...surroundings, budget: budget ?? '', host: options.host } };
  }
  const maxPplRatio = budget === undefined ? undefined : pplOf(budget);
  const wanted = { maxPplRatio, allowSlower, dtype, preset: planOptions({ ...options, preset }) };
  return { kind: 'preset', options: { ...shared, ...surroundings, ...wanted } };
}

/** What a build finds around it. */
export function surroundingsOf(options: CheckpointOptions, context: CommandContext) {
  const { nativeFolder } = context.io;
  return { nativeFolder, cacheFolder: cacheFolderOf(context), ...sourceOptions(options, context) };
}

async function runBuild(request: BuildRequest): Promise<Built> {
  if (request.kind === 'auto') return { kind: 'auto', result: await buildAuto(request.options) };
  return { kind: 'preset', result: await build(request.options) };
}

export function printBuilt(options: CommonOptions, built: Built, context: CommandContext): void {
  if (built.kind === 'auto') context.print(options, built.result, autoText);
  else context.print(options, built.result, resultText);
}

function limitText({ name, sign, example, of }: (typeof LIMITS)[number]): string {
  return `${name}${sign}${example} (${of})`;
}

/** The one limit that a build by a preset measures. Throws `usage` for others. */
export function pplOf(text: string): number | undefined {
  const { ppl, ...others } = parseBudget(text);
  const [other] = Object.keys(others);
  if (other === undefined) return ppl;
  throw new LacunaError('usage', `With a preset, a budget limits ppl alone, not ${other}`, {
    hint: 'Leave the preset out, and the budget says which dense model to look for; or give --budget "ppl<=1.02".',
  });
}

/** Verdict, quality, speed, size and place. Everything else is in the files. */
function resultText(result: BuildResult, width: number): string {
  const { output, precision, host, engine, plan, evaluation, bench, bytes } = result;
  const texts = evaluation.texts.map(({ name }) => name).join(', ');
  const lines = [
    `Shipped: ${precision}, preset ${plan.preset}, target ${targetText(plan.target)}, for ${hostText(host)}`,
    ...evaluation.modes.map((mode) => qualityText(mode, precision)),
    ...(evaluation.check === undefined ? [] : [`Budget:  ${budgetText(evaluation.check)}`]),
    `Text:    ${texts}; baseline the checkpoint's floats (${FLOATS}); measured in ${engineText(evaluation.engine)}`,
    `Speed:   ${speedText(bench, precision)} in ${engineText(engine)}`,
    `Size:    ${formatBytes(bytes)}`,
    `Where:   ${output}; all figures in ${output}/lacuna and README.md`,
    ...(plan.notes ?? []).map((note) => `Note:    ${note}`),
  ];
  return lines.map((line) => wrap(line, width, '         ')).join('\n');
}

function qualityText(
  { mode, scoredTokens, perplexityRatio: ratio, rounded, realised }: BuildResult['evaluation']['modes'][number],
  precision: string,
): string {
  const error = ratio.standardError === null ? '' : ` ± ${ratio.standardError.toFixed(4)}`;
  const kept = realised === null ? '' : `; ${percent(realised.computedShare)} of the FFN computed`;
  const apart =
    rounded === null
      ? ''
      : ` (rounding to ${precision} ${rounded.rounding.value.toFixed(4)}, leaving out ${rounded.leavingOut.value.toFixed(4)})`;
  return `Quality: perplexity ratio ${ratio.value.toFixed(4)}${error}${apart}, ${mode}, ${scoredTokens} tokens${kept}`;
}

function budgetText({ maxPplRatio, upperBound }: NonNullable<BuildResult['evaluation']['check']>): string {
  return `held: the ratio is below ${upperBound.toFixed(4)}, wanted at most ${maxPplRatio}`;
}

function speedText({ speedup, subjects, expectedSpeedup }: BuildResult['bench'], precision: string): string {
  const [dense, sparse] = subjects.map(({ decodeTokensPerSecond: { median } }) => median.toFixed(1));
  if (speedup === null) return `${sparse} tokens/s`;
  const [median, p10, p90] = [speedup.median, speedup.p10, speedup.p90].map((value) => value.toFixed(2));
  const expected = expectedSpeedup === null ? '' : `; expected ${expectedSpeedup.toFixed(2)} times`;
  return `${BEFORE_SPEED[speedVerdict(speedup)]}decodes ${median} times as fast as dense ${precision} (${p10} to ${p90}): ${sparse} and ${dense} tokens/s${expected}`;
}

/** The words before a figure: none before a gain. */
const BEFORE_SPEED: Readonly<Record<SpeedVerdict, string>> = {
  slower: 'SLOWER: ',
  faster: '',
  'not sure to be faster': 'not sure to be faster: ',
};

function hostText({ kind }: BuildResult['host']): string {
  return kind === 'stock' ? 'stock ONNX Runtime' : 'the native kernels';
}

export function presetDryRunText(found: BuildDryRun, width: number): string {
  const { precision, host, target, stages, scoredTokens, freeBytes, denseBytes, floatBytes, problem, output } = found;
  const lines = [
    `Would make: ${precision}, ${targetText(target)}, for ${hostText(host)}`,
    `Figures:    from ${scoredTokens} tokens, against the checkpoint's floats (${FLOATS})`,
    `Stages:     ${stages.map(({ name, isKept }) => (isKept ? `${name} (kept)` : name)).join(', ')}`,
    `Disk:       up to about ${formatBytes(3 * denseBytes + floatBytes)} while it works${freeBytes === undefined ? '' : `, of ${formatBytes(freeBytes)} that are free`}`,
    problem === undefined
      ? `Nothing stands in the way of ${output}; nothing was written`
      : `problem: ${problem.message}${problem.hint === undefined ? '' : `\n  ${problem.hint}`}`,
  ];
  return lines.map((line) => wrap(line, width, '            ')).join('\n');
}

/** Targets and what is expected of each; a reason in place of figures where there is no plan. */
function comparisonText({ targets, host, precision }: BuildComparison, width: number): string {
  const heading = `Expected in ${precision}, for ${hostText(host)}, from what was measured; only a build measures quality and speed`;
  const used = COMPARED.filter(([, cell]) => targets.some((one) => cell(one) !== '-'));
  const rows = targets.map((one) => used.map(([, cell]) => cell(one)));
  const problems = targets.flatMap(({ target, problem }) =>
    problem === undefined ? [] : [`${shareText(target)}: ${problem.message}\n  ${problem.hint ?? ''}`.trimEnd()],
  );
  const table = foldedTable(
    used.map(([name]) => name),
    rows,
    width,
  );
  return [wrap(heading, width), table, ...problems.map((line) => wrap(line, width, '  '))].join('\n\n');
}

/** With as many digits as it has: "50 %", "12.5 %". */
function shareText(share: number): string {
  return `${Number((100 * share).toPrecision(6))} %`;
}

/** What is expected of a target, by column. */
export const COMPARED: readonly (readonly [name: string, cell: (one: ComparedTarget) => string])[] = [
  ['target', ({ target }) => shareText(target)],
  ['FFN bytes read', ({ ffnBytes }) => percentOrDash(ffnBytes)],
  ['speed', ({ speedup }) => (speedup === null ? '-' : `${speedup.toFixed(2)}x`)],
  ['energy kept', ({ keptEnergy }) => percentOrDash(keptEnergy)],
  ['lost of streams', ({ streamLoss }) => (streamLoss === null ? '-' : percent(streamLoss, 3))],
];
