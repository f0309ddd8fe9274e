/** `lacuna build`. */
import { type BuildOptions, type BuildResult, build } from '../index.ts';
import { formatBench } from './bench.ts';
import { type CommonOptions, print, type RegisterCommand, sourceOptions, withCommonOptions } from './command.ts';
import { planText } from './describe.ts';
import { formatEvaluation } from './eval.ts';
import { positiveInteger, positiveNumber } from './parse.ts';
import { type PresetOptions, planOptions, withPresetOptions } from './presets.ts';

interface Options extends CommonOptions, PresetOptions {
  readonly output: string;
  readonly fit?: readonly string[];
  readonly choose?: readonly string[];
  readonly test?: readonly string[];
  readonly tokens?: number;
  readonly maxPplRatio?: number;
  readonly force?: boolean;
  readonly allowNonfinite?: boolean;
  readonly adapter?: string;
  readonly dtype?: BuildOptions['dtype'];
}

export const registerBuild: RegisterCommand = (program, context) => {
  const command = program
    .command('build')
    .description('convert, calibrate, plan, sparsify, evaluate and time, resuming where it was stopped')
    .argument('<checkpoint>', 'folder with config.json and safetensors, GGUF file, or owner/name on the Hub')
    .requiredOption('-o, --output <dir>', 'folder to make; unfinished stages are kept in <dir>.build')
    .option('--fit <file...>', 'texts to measure statistics on (default: pinned)')
    .option('--choose <file...>', 'texts to correct thresholds on (default: pinned)')
    .option('--test <file...>', 'texts to take the figures from (default: pinned)')
    .option('--tokens <n>', 'tokens to calibrate on and to score (default 20000)', positiveInteger)
    .option(
      '--max-ppl-ratio <r>',
      'write nothing and exit with 1 when the perplexity ratio is above this',
      positiveNumber,
    )
    .option('--dtype <name>', 'how weights are stored: fp32, fp16, bf16, int8 or int4 (default fp32)')
    .option('--force', 'replace an existing output')
    .option('--adapter <dir>', 'LoRA adapter to merge into the checkpoint')
    .option('--allow-nonfinite', 'take NaN and infinite weights instead of refusing them');
  withCommonOptions(withPresetOptions(command)).action(async (checkpoint: string, options: Options) => {
    const { output, tokens, maxPplRatio, force, allowNonfinite: allowNonFinite, adapter, dtype } = options;
    const { fit, choose, test } = options;
    const preset = planOptions(options);
    const result = await build({
      checkpoint,
      output,
      preset,
      texts: { fit, choose, test },
      tokens,
      maxPplRatio,
      force,
      allowNonFinite,
      adapter,
      dtype,
      nativeFolder: context.io.nativeFolder,
      ...sourceOptions(options, context),
    });
    print(context.io, options, result, format);
  });
};

function format({ output, plan, evaluation, bench }: BuildResult, width: number): string {
  const parts = [
    planText(plan, width),
    formatEvaluation(evaluation, width),
    formatBench(bench),
    `Written to ${output}`,
  ];
  return parts.join('\n\n');
}
