/** `lacuna convert`. */
import { BLOCK_SIZES, PRECISION_NAMES } from '../core/precision.ts';
import { type ConvertResult, convert } from '../index.ts';
import {
  type CommonOptions,
  jobOptions,
  positiveInteger,
  print,
  type RegisterCommand,
  withCommonOptions,
} from './command.ts';
import { formatBytes } from './progress.ts';
import { table } from './table.ts';

interface Options extends CommonOptions {
  readonly output: string;
  readonly force?: boolean;
  readonly dryRun?: boolean;
  readonly allowNonfinite?: boolean;
  readonly dtype: string;
  readonly blockSize?: number;
  readonly asymmetric?: boolean;
  readonly importance?: string;
}

export const registerConvert: RegisterCommand = (program, { io }) => {
  const command = program
    .command('convert')
    .description('convert a checkpoint to a dense ONNX folder')
    .argument('<checkpoint>', 'folder with config.json and safetensors')
    .requiredOption('-o, --output <dir>', 'folder to make')
    .option('--dtype <name>', `precision of the weights: ${PRECISION_NAMES.join(', ')}`, 'fp32')
    .option('--block-size <n>', `weights a scale, for int8 and int4: ${BLOCK_SIZES.join(', ')}`, positiveInteger)
    .option('--asymmetric', 'store zero points too, for int8 and int4: smaller errors, slightly larger files')
    .option('--importance <file>', 'safetensors with the mean square of each input, by weight; for int4')
    .option('--force', 'replace an existing output')
    .option('--dry-run', 'check config and tensors, print what would be written, write nothing')
    .option('--allow-nonfinite', 'write NaN and infinite weights instead of refusing them');
  withCommonOptions(command).action(async (checkpoint: string, options: Options) => {
    const { allowNonfinite: allowNonFinite, ...rest } = options;
    const result = await convert({ ...rest, checkpoint, allowNonFinite, ...jobOptions(options, io) });
    print(io, options, result, format);
  });
};

function format(result: ConvertResult): string {
  const { spec, files } = result;
  const model = `${spec.architecture}: ${spec.numHiddenLayers} layers, hidden ${spec.hiddenSize}, FFN ${spec.intermediateSize}, vocabulary ${spec.vocabSize}; ${result.precision}`;
  if (files === undefined)
    return `${model}\nWould write ${formatBytes(result.weightBytes)} of weights to ${result.output}`;
  return `${model}\n\n${table(
    ['file', 'size'],
    files.map(({ path, bytes }) => [path, formatBytes(bytes)]),
  )}\n\nWritten to ${result.output}`;
}
