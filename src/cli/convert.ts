/** `lacuna convert`. */
import { LacunaError } from '../core/errors.ts';
import { counted, formatBytes, formatSeconds } from '../core/figures.ts';
import { BLOCK_NAMES, FLOATS, IN_BLOCKS, precisionNamed, vocabularyOf } from '../core/precision.ts';
import {
  BLOCK_SIZES,
  type ConvertOptions,
  type ConvertResult,
  convert,
  type DryRunResult,
  dryRun,
  type ModelSpec,
  PRECISION_NAMES,
  ROUNDINGS,
  VOCABULARY_NAMES,
} from '../index.ts';
import {
  type CommandContext,
  type Flags,
  ownOptions,
  type RegisterCommand,
  sourceOptions,
  withCheckpointOptions,
  withCommonOptions,
} from './command.ts';
import { EXIT } from './io.ts';
import { positiveInteger, precisionNames } from './parse.ts';
import { table, wrap } from './table.ts';
import { checksText, referenceOptions } from './verify.ts';

type Options = Flags<ConvertOptions, 'checkpoint' | 'verify'> & {
  readonly dryRun?: boolean;
  readonly verify?: boolean;
  readonly python?: string;
  readonly expectations?: string;
};

const USUAL_VOCABULARY = [...new Set(BLOCK_NAMES.map((name) => vocabularyOf(precisionNamed(name))))].join(', ');

export const registerConvert: RegisterCommand = (program, context) => {
  const command = program
    .command('convert')
    .description('convert a checkpoint to a dense ONNX folder')
    .argument('<checkpoint>', 'folder with config.json and safetensors, GGUF file, or owner/name on the Hub')
    .requiredOption('-o, --output <dir>', 'folder to make')
    .option(
      '--dtype <names>',
      `precision of the weights: ${PRECISION_NAMES.join(', ')}; several, as ${FLOATS},${BLOCK_NAMES.at(-1)}, lie side by side (default: ${FLOATS})`,
      precisionNames('--dtype'),
    )
    .option('--block-size <n>', `weights a scale, for ${IN_BLOCKS}: ${BLOCK_SIZES.join(', ')}`, positiveInteger)
    .option('--asymmetric', `store zero points too, for ${IN_BLOCKS}: smaller errors, slightly larger files`)
    .option(
      '--vocabulary <name>',
      `how embedding and head are stored, for ${IN_BLOCKS}: ${VOCABULARY_NAMES.join(', ')} (default: ${USUAL_VOCABULARY})`,
    )
    .option(
      '--data <file...>',
      `texts, UTF-8 or JSONL, to round by: errors are put where they cost least; for ${IN_BLOCKS}`,
    )
    .option(
      '--rounding <name>',
      `how to round: ${ROUNDINGS.join(', ')} (default: gptq, better and slower; with --importance: search)`,
    )
    .option('--tokens <n>', 'use at most this many tokens of them (default: 8192)', positiveInteger)
    .option('--importance <statistics>', 'statistics JSON to use instead of --data; gptq reads its input-grams')
    .option('--force', 'replace an existing output')
    .option('--dry-run', 'list the files, the cost and everything that is wrong; write nothing')
    .option('--verify', 'compare the result with Transformers; exit with 1 if it differs')
    .option('--python <path>', 'Python with Transformers, for --verify')
    .option('--expectations <file>', 'what Transformers computed before, for --verify');
  withCommonOptions(withCheckpointOptions(command, 'write')).action(async (checkpoint: string, options: Options) => {
    const { dryRun: isDry, python: _python, expectations: _expectations, ...own } = ownOptions(options);
    const verify = verifyOptions(options, context);
    const wanted = { ...own, checkpoint, verify, ...sourceOptions(options, context) };
    if (isDry) {
      const found = await dryRun(wanted);
      context.print(options, found, dryRunText);
      if (found.problems.length > 0) context.fail(EXIT.usage);
      return;
    }
    const result = await convert(wanted);
    context.print(options, result, format);
    if (result.checks?.some(({ passed }) => !passed)) context.fail();
  });
};

function verifyOptions(options: Options, context: CommandContext): ConvertOptions['verify'] {
  if (options.verify) return referenceOptions(options, context);
  if (options.python === undefined && options.expectations === undefined) return undefined;
  throw new LacunaError('usage', '--python and --expectations say what to verify against, and --verify is not given');
}

function format({ spec, models, files, output, checks }: ConvertResult, width: number): string {
  const precisions = models.map(({ precision }) => precision);
  const parts = [
    modelText(spec, precisions),
    filesTable(files),
    `Written to ${output}`,
    ...(checks === undefined ? [] : [checksText(checks, width)]),
  ];
  return parts.join('\n\n');
}

function modelText(spec: ModelSpec, precisions: readonly string[]): string {
  const sizes = `${spec.numHiddenLayers} layers, hidden ${spec.hiddenSize}, FFN ${spec.intermediateSize}, vocabulary ${spec.vocabSize}`;
  return `${spec.architecture}: ${sizes}; ${precisions.join(', ')}`;
}

function filesTable(files: readonly { readonly path: string; readonly bytes: number }[]): string {
  const rows = files.map(({ path, bytes }) => [path, formatBytes(bytes)]);
  return table(['file', 'size'], rows);
}

/** What would be written, what it would cost, and everything that is wrong. */
function dryRunText(found: DryRunResult, width: number): string {
  const { spec, precisions, files, output, problems, notes } = found;
  const parts = [
    ...(spec === undefined ? [] : [modelText(spec, precisions)]),
    ...(files === undefined ? [] : [filesTable(files), needsText(found, width)]),
    ...problems.map(({ message, hint }) => `problem: ${message}${hint === undefined ? '' : `\n  ${hint}`}`),
    ...(notes.length === 0 ? [] : [notes.map((note) => wrap(`note: ${note}`, width, '  ')).join('\n')]),
    problems.length === 0
      ? `Nothing stands in the way of ${output}; nothing was written`
      : `${counted(problems.length, 'problem')} to solve before ${output} can be written`,
  ];
  return parts.join('\n\n');
}

function needsText({ totalBytes, freeBytes, estimate }: DryRunResult, width: number): string {
  const free = freeBytes === undefined ? '' : `, of ${formatBytes(freeBytes)} that are free`;
  const lines = [`disk: ${formatBytes(totalBytes ?? 0)}${free}`];
  if (estimate !== undefined) {
    const { seconds, measuredBytes, threads, peakMemoryBytes, referenceMemoryBytes } = estimate;
    const basis = `for ${counted(threads, 'thread')}, by the ${formatBytes(measuredBytes)} of it that were made now and not written`;
    lines.push(`time: about ${formatSeconds(1000 * seconds)} (${basis}; a slow disk takes longer)`);
    lines.push(`memory: at most about ${formatBytes(peakMemoryBytes)}`);
    if (referenceMemoryBytes !== undefined)
      lines.push(`to verify: about ${formatBytes(referenceMemoryBytes)} for Transformers, which computes in float32`);
  }
  return lines.map((line) => wrap(line, width, '  ')).join('\n');
}
