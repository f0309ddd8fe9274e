/** `lacuna wizard`: the options of the wizard from the command line, its terminal, and how results are printed. */
import { homedir } from 'node:os';
import { type Command, Option } from 'commander';
import { parseBudget } from '../core/budget.ts';
import { LacunaError } from '../core/errors.ts';
import { formatBytes } from '../core/figures.ts';
import { visible, withShortWords } from '../core/shown.ts';
import {
  type AutoDryRun,
  type BuildDryRun,
  type CheckpointSummary,
  PRESET_WORDS,
  SPARSE_PRECISIONS,
} from '../index.ts';
import type { Answers } from '../wizard/index.ts';
import { shareOptionOf, shareOptions } from '../wizard/share-option.ts';
import { AUTO } from '../wizard/state.ts';
import { autoDryRunText } from './auto.ts';
import { COMPARED, pplOf, presetDryRunText, printBuilt, surroundingsOf } from './build.ts';
import {
  type CommandContext,
  type CommonOptions,
  DEFAULT_WIDTH,
  type RegisterCommand,
  withCommonOptions,
} from './command.ts';
import type { Io } from './io.ts';
import { layerList, nonNegativeInteger, positiveInteger, share } from './parse.ts';
import { dashed } from './presets.ts';
import { table, wrapText } from './table.ts';

type Options = CommonOptions & Omit<Answers, 'goal' | 'checkpoint' | 'target'> & { readonly preset?: Answers['goal'] };

export const registerWizard: RegisterCommand = (program, context) => {
  const command = program
    .command('wizard')
    .description('make a model by questions; ends with the command that does the same')
    .argument('[checkpoint]', 'folder with config.json and safetensors, GGUF file, or owner/name on the Hub');
  withCommonOptions(withAnswers(command)).action(async (checkpoint: string | undefined, options: Options) => {
    refuseWithoutTerminal(context.io);
    // Imported only here: drawing takes longer to load than a short command takes.
    const { runWizard, commandText } = await import('../wizard/index.ts');
    const { command, built, report } = await runWizard(
      answersOf(checkpoint, options),
      terminalOf(context),
      findingOf(options, context),
    );
    const text = commandText(command, DEFAULT_WIDTH);
    if (built === undefined) return context.print(options, { command }, () => text);
    printBuilt(options, built, context);
    if (report !== undefined) context.io.stderr.write(`\nReport: ${report}\n`);
    context.io.stderr.write(`\nThe command that does the same:\n${text}\n`);
  });
};

/** What presets keep or leave out, an option for each kind. */
const SHARES = shareOptions();

/** Answers that may be given beforehand. They are not asked for. */
export function withAnswers(command: Command): Command {
  for (const { name, description } of SHARES) command.option(`--${name} <share>`, description, share);
  return command
    .option('-o, --output <dir>', 'folder to make')
    .option('--work <dir>', 'keep finished stages here, also for other builds')
    .option('--fit <file...>', 'texts to calibrate and round by')
    .option('--choose <file...>', 'texts to choose the model on')
    .option('--test <file...>', 'texts to take the figures from')
    .option('--tokens <n>', 'tokens to calibrate on and to score (default 20000)', positiveInteger)
    .option('--adapter <dir>', 'LoRA adapter to merge into the checkpoint')
    .option(
      '--budget <limits>',
      'what the model may cost and must give, as for build; without --preset, of the fastest dense model',
    )
    .addOption(new Option('--host <name>', 'where the model is to decode').choices(['native', 'stock']))
    .addOption(new Option('--preset <name>', 'make a sparse model').choices(PRESET_WORDS.map(({ name }) => name)))
    .option('--measure <score>', 'what top-k chooses neurons by')
    .option('--dense-layers <layers>', 'layers that compute all of their neurons', layerList)
    .option('--cold-start <layer>', 'first layer that may be skipped', nonNegativeInteger)
    .option('--cold-end <layer>', 'first layer after those that may be skipped', positiveInteger)
    .addOption(new Option('--dtype <name>', 'how a sparse model stores its weights').choices(SPARSE_PRECISIONS))
    .option('--allow-slower', 'ship a sparse model even if it decodes slower than the dense one')
    .option('--force', 'replace an existing output');
}

/** Questions are drawn on stderr, so that stdout has the result alone. */
function refuseWithoutTerminal({ stdin, stderr, redraws = true }: Io): void {
  if (stdin.isTTY && stderr.isTTY && redraws) return;
  throw new LacunaError('usage', 'The wizard asks questions, and there is no terminal to ask them at', {
    hint: 'Without questions: lacuna build CHECKPOINT -o DIR --budget "ppl<=1.02"',
  });
}

/** Throws `usage` for an option that the preset does not take, or that only presets take where there is none, as `build` does. */
export function answersOf(checkpoint: string | undefined, options: Options): Answers {
  const { json: _, quiet: __, preset, ...given } = options;
  const entries = Object.entries(given);
  const foreign = entries.find(([name]) => !isTaken(name, preset));
  if (foreign !== undefined)
    throw new LacunaError('usage', `--${dashed(foreign[0])} is not for ${preset ?? 'a model without a preset'}`, {
      hint: 'Leave it out, and the wizard asks; or name a preset that takes it: --preset NAME.',
    });
  const { budget } = given;
  if (budget !== undefined) checkBudget(budget, preset);
  const own = shareOptionOf(preset)?.name;
  // The wizard calls it by what it is for, whatever the preset.
  const answers = Object.fromEntries(entries.map(([name, value]) => [name === own ? 'target' : name, value]));
  // A budget alone says what to make, as for `build`, and a target that is named needs no table to be chosen from.
  const goal = preset ?? (budget === undefined ? undefined : AUTO);
  return { ...answers, checkpoint, goal, ...('target' in answers && { setting: 'settled' }) };
}

/** Throws `usage` for what the question for it would not take. */
function checkBudget(budget: string, preset: string | undefined): void {
  if (preset === undefined) parseBudget(budget);
  else pplOf(budget);
}

function isTaken(name: string, preset: string | undefined): boolean {
  if (name === 'dtype' || name === 'allowSlower') return preset !== undefined;
  const takers = PRESET_WORDS.filter(({ options }) => Object.hasOwn(options, name));
  return takers.length === 0 || takers.some((taker) => taker.name === preset);
}

function terminalOf({ io, progress }: CommandContext) {
  // inquirer writes two characters before what is wrong with an answer.
  const wrap = (text: string) => wrapText(visible(withShortWords(text)), widthOf(io) - 2);
  const say = (text: string) => {
    // A job that failed is still drawn.
    progress.stop();
    if (text !== '') io.stderr.write(`${wrap(text)}\n`);
  };
  return {
    input: io.stdin,
    output: io.stderr,
    signal: io.signal,
    hasUnicode: io.hasUnicode ?? false,
    table,
    wrap,
    say,
  };
}

function findingOf(options: Options, context: CommandContext) {
  const { hasUnicode, say } = terminalOf(context);
  const width = widthOf(context.io);
  return {
    ...{ hasUnicode, say, surroundings: surroundingsOf(options, context), home: homedir() },
    words: {
      checkpoint: checkpointLine,
      autoDryRun: (found: AutoDryRun) => autoDryRunText(found, width),
      dryRun: (found: BuildDryRun) => presetDryRunText(found, width),
      compared: COMPARED,
    },
  };
}

function widthOf({ stderr }: Io): number {
  return stderr.columns || DEFAULT_WIDTH;
}

/** "30 layers, hidden 576, FFN 1536 (silu); 134.5 million parameters, bfloat16 269.0 MB". */
function checkpointLine({ spec, parameters, bytesByDtype }: CheckpointSummary): string {
  const sizes =
    spec &&
    `${spec.architecture}: ${spec.numHiddenLayers} layers, hidden ${spec.hiddenSize}, FFN ${spec.intermediateSize}`;
  const stored = Object.entries(bytesByDtype).map(([dtype, bytes]) => `${dtype} ${formatBytes(bytes)}`);
  return [sizes, `${(parameters / 1e6).toFixed(1)} million parameters`, stored.join(', ')].join('; ');
}
