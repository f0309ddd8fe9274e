/** `lacuna convert`. */
import { BLOCK_SIZES, PRECISION_NAMES, VOCABULARY_NAMES } from '../core/precision.ts';
import { type ConvertResult, convert } from '../index.ts';
import { type CommonOptions, jobOptions, print, type RegisterCommand, withCommonOptions } from './command.ts';
import { formatBytes } from './figures.ts';
import { commaSeparated, positiveInteger } from './parse.ts';
import { table } from './table.ts';

interface Options extends CommonOptions {
  readonly output: string;
  readonly force?: boolean;
  readonly dryRun?: boolean;
  readonly allowNonfinite?: boolean;
  readonly adapter?: string;
  readonly dtype?: readonly string[];
  readonly blockSize?: number;
  readonly asymmetric?: boolean;
  readonly vocabulary?: string;
  readonly importance?: string;
  readonly data?: readonly string[];
  readonly tokens?: number;
}

export const registerConvert: RegisterCommand = (program, context) => {
  const command = program
    .command('convert')
    .description('convert a checkpoint to a dense ONNX folder')
    .argument('<checkpoint>', 'folder with config.json and safetensors, GGUF file, or owner/name on the Hub')
    .requiredOption('-o, --output <dir>', 'folder to make')
    .option(
      '--dtype <names>',
      `precision of the weights: ${PRECISION_NAMES.join(', ')}; several, as fp32,int4, lie side by side (default: fp32)`,
      commaSeparated,
    )
    .option('--block-size <n>', `weights a scale, for int8 and int4: ${BLOCK_SIZES.join(', ')}`, positiveInteger)
    .option('--asymmetric', 'store zero points too, for int8 and int4: smaller errors, slightly larger files')
    .option(
      '--vocabulary <name>',
      `how embedding and head are stored, for int8 and int4: ${VOCABULARY_NAMES.join(', ')} (default: int8)`,
    )
    .option('--data <file...>', 'UTF-8 texts to measure on which errors weigh most; for int4')
    .option('--tokens <n>', 'use at most this many tokens of them (default: 8192)', positiveInteger)
    .option('--importance <statistics>', 'statistics JSON that has it measured already, in place of --data')
    .option('--force', 'replace an existing output')
    .option('--dry-run', 'check config and tensors, print what would be written, write nothing')
    .option('--adapter <dir>', 'LoRA adapter to merge into the checkpoint')
    .option('--allow-nonfinite', 'write NaN and infinite weights instead of refusing them');
  withCommonOptions(command).action(async (checkpoint: string, options: Options) => {
    const { output, force, dryRun, allowNonfinite: allowNonFinite, adapter } = options;
    const { dtype, blockSize, asymmetric, vocabulary, importance, data, tokens } = options;
    const stored = { dtype, blockSize, asymmetric, vocabulary, importance, data, tokens };
    const job = jobOptions(options, context);
    const result = await convert({ checkpoint, output, force, dryRun, allowNonFinite, adapter, ...stored, ...job });
    print(context.io, options, result, format);
  });
};

function format(result: ConvertResult): string {
  const { spec, models, files } = result;
  const precisions = models.map(({ precision }) => precision).join(', ');
  const model = `${spec.architecture}: ${spec.numHiddenLayers} layers, hidden ${spec.hiddenSize}, FFN ${spec.intermediateSize}, vocabulary ${spec.vocabSize}; ${precisions}`;
  if (files === undefined)
    return `${model}\nWould write ${formatBytes(result.weightBytes)} of weights to ${result.output}`;
  return `${model}\n\n${table(
    ['file', 'size'],
    files.map(({ path, bytes }) => [path, formatBytes(bytes)]),
  )}\n\nWritten to ${result.output}`;
}
