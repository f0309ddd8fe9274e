/** `lacuna calibrate` and `lacuna calibrate merge`. */
import { Option } from 'commander';
import { type CalibrateResult, calibrate, FURTHER_STATISTICS, mergeCalibrations } from '../index.ts';
import {
  type CommonOptions,
  ownOptions,
  print,
  type RegisterCommand,
  sourceOptions,
  withCommonOptions,
} from './command.ts';
import { statisticsText } from './describe.ts';
import { positiveInteger, type Shard, shard } from './parse.ts';

interface Options extends CommonOptions {
  readonly data?: readonly string[];
  readonly output?: string;
  readonly tokens?: number;
  readonly sequenceLength: number;
  readonly shard?: Shard;
  readonly with?: readonly string[];
  readonly force?: boolean;
  readonly allowNonfinite?: boolean;
  readonly adapter?: string;
}

interface MergeOptions extends CommonOptions {
  readonly output: string;
  readonly force?: boolean;
}

export const registerCalibrate: RegisterCommand = (program, context) => {
  const command = program
    .command('calibrate')
    .enablePositionalOptions()
    .description('measure FFN saturation and gate statistics, layer by layer')
    .argument('<checkpoint>', 'folder with config.json and safetensors, GGUF file, or owner/name on the Hub')
    .option('--data <file...>', 'texts, UTF-8 or JSONL, to measure on (default: the pinned "fit" text)')
    // Not a required option: commander would also ask `merge` for it, which has its own.
    .option('-o, --output <file>', 'statistics JSON to make; its tensors go beside it (required)')
    .option('--tokens <n>', 'use at most this many tokens', positiveInteger)
    .option('--sequence-length <n>', 'tokens a sequence', positiveInteger, 512)
    .option('--shard <i/n>', 'measure every n-th sequence, starting at the i-th (0-based)', shard)
    .addOption(
      new Option('--with <statistic...>', 'also measure these large statistics: GPTQ rounds by input-grams').choices(
        FURTHER_STATISTICS,
      ),
    )
    .option('--force', 'replace an existing output')
    .option('--adapter <dir>', 'LoRA adapter to merge into the checkpoint')
    .option('--allow-nonfinite', 'take NaN and infinite weights instead of refusing them');
  withCommonOptions(command).action(async (checkpoint: string, options: Options) => {
    const { output } = options;
    if (output === undefined) return command.error("error: required option '-o, --output <file>' not specified");
    const { allowNonfinite: allowNonFinite, ...own } = ownOptions(options);
    const job = sourceOptions(options, context);
    print(context.io, options, await calibrate({ ...own, checkpoint, output, allowNonFinite, ...job }), format);
  });

  withCommonOptions(command.command('merge').description('add up the statistics of shards'))
    .argument('<statistics...>', 'statistics JSON files of the shards')
    .requiredOption('-o, --output <file>', 'statistics JSON to make')
    .option('--force', 'replace an existing output')
    .action(async (inputs: readonly string[], options: MergeOptions) => {
      const { output, force } = options;
      print(context.io, options, await mergeCalibrations({ inputs, output, force }), format);
    });
};

function format({ output, summary }: CalibrateResult, width: number): string {
  return `${statisticsText(summary, width)}\n\nWritten to ${output}`;
}
