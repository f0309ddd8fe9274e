/** `lacuna calibrate` and `lacuna calibrate merge`. */
import { Option } from 'commander';
import {
  type CalibrateOptions,
  type CalibrateResult,
  calibrate,
  FURTHER_STATISTICS,
  type MergeOptions,
  mergeCalibrations,
} from '../index.ts';
import {
  type Flags,
  ownOptions,
  type RegisterCommand,
  sourceOptions,
  withCheckpointOptions,
  withCommonOptions,
} from './command.ts';
import { statisticsText } from './describe.ts';
import { positiveInteger, shard } from './parse.ts';

type Options = Flags<CalibrateOptions, 'checkpoint' | 'output'> & { readonly output?: string };

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
      new Option(
        '--with <statistic...>',
        'also measure these large statistics: GPTQ rounds by input-grams, plans of replace are made from ffn-moments and ffn-effect',
      ).choices(FURTHER_STATISTICS),
    )
    .option('--force', 'replace an existing output');
  withCommonOptions(withCheckpointOptions(command, 'take')).action(async (checkpoint: string, options: Options) => {
    const { output } = options;
    if (output === undefined) return command.error("error: required option '-o, --output <file>' not specified");
    const result = await calibrate({ ...ownOptions(options), checkpoint, output, ...sourceOptions(options, context) });
    context.print(options, result, format);
  });

  withCommonOptions(command.command('merge').description('add up the statistics of shards'))
    .argument('<statistics...>', 'statistics JSON files of the shards')
    .requiredOption('-o, --output <file>', 'statistics JSON to make')
    .option('--force', 'replace an existing output')
    .action(async (inputs: readonly string[], options: Flags<MergeOptions, 'inputs'>) => {
      context.print(options, await mergeCalibrations({ ...ownOptions(options), inputs }), format);
    });
};

function format({ output, summary }: CalibrateResult, width: number): string {
  return `${statisticsText(summary, width)}\n\nWritten to ${output}`;
}
