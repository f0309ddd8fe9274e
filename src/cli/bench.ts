/** `lacuna bench`. */
import { type BenchResult, bench, type Engine } from '../index.ts';
import {
  type CommonOptions,
  engineOption,
  jobOptions,
  print,
  type RegisterCommand,
  withCommonOptions,
} from './command.ts';
import { defaultText } from './data.ts';
import { formatBytes, percent } from './figures.ts';
import { positiveInteger } from './parse.ts';
import { table } from './table.ts';

interface Options extends CommonOptions {
  readonly engine?: Engine;
  readonly againstEngine?: Engine;
  readonly against?: string;
  readonly dtype?: string;
  readonly againstDtype?: string;
  readonly data?: readonly string[];
  readonly promptTokens?: number;
  readonly rounds?: number;
  readonly steps?: number;
}

export const registerBench: RegisterCommand = (program, context) => {
  const command = program
    .command('bench')
    .description('time decoding, interleaved with a baseline in one process')
    .argument('<dir>', 'folder made by convert, sparsify or build')
    .option('--against <dir>', 'folder to compare with')
    .option('--dtype <name>', 'precision to time, where the folder has several (default: its first)')
    .option('--against-dtype <name>', "the baseline's precision; without --against it is one of the same folder")
    .addOption(engineOption('--engine <name>', 'what decodes (default: native where it is built)'))
    .addOption(
      engineOption(
        '--against-engine <name>',
        'what decodes the baseline (default: as --engine); without --against it is the same folder',
      ),
    )
    .option('--data <file...>', 'UTF-8 texts to decode along (default: the pinned "test" text)')
    .option('--prompt-tokens <n>', 'tokens in the cache when decoding starts (default 128)', positiveInteger)
    .option('--rounds <n>', 'rounds to time (default 10)', positiveInteger)
    .option('--steps <n>', 'tokens a block; a round has two blocks of each (default 16)', positiveInteger);
  withCommonOptions(command).action(async (folder: string, options: Options) => {
    const { steps: stepsPerBlock, data = [defaultText(context.io, 'test')] } = options;
    const job = jobOptions(options, context);
    const { nativeFolder } = context.io;
    const result = await bench({ ...options, nativeFolder, folder, data, stepsPerBlock, ...job });
    print(context.io, options, result, formatBench);
  });
};

export function formatBench(result: BenchResult): string {
  const rows = result.subjects.map(
    ({ name, decodeTokensPerSecond: decode, prefillTokensPerSecond: prefill, ...subject }) => [
      name,
      decode.median.toFixed(1),
      `${decode.p10.toFixed(1)}-${decode.p90.toFixed(1)}`,
      prefill.median.toFixed(0),
      subject.weightBytesPerToken === null ? '-' : formatBytes(subject.weightBytesPerToken),
      subject.bandwidthShare === null ? '-' : percent(subject.bandwidthShare, 0),
    ],
  );
  const header = ['model', 'decode tok/s', 'p10-p90', 'prefill tok/s', 'weights/token', 'of bandwidth'];
  const lines = [table(header, rows), ''];
  if (result.speedup !== null) {
    const { median, p10, p90 } = result.speedup;
    lines.push(
      `decode speed-up ${median.toFixed(3)}x (p10-p90 ${p10.toFixed(3)}-${p90.toFixed(3)}), ${result.rounds} rounds of 4 x ${result.stepsPerBlock} tokens`,
    );
  }
  if (result.prefillSpeedup !== null) lines.push(`prefill speed-up ${result.prefillSpeedup.median.toFixed(3)}x`);
  lines.push(`prompt of ${result.promptTokens} tokens, threads: ${result.threads ?? "ONNX Runtime's choice"}`);
  if (result.memoryBandwidth !== null)
    lines.push(`memory bandwidth, as many threads reading in order: ${formatBytes(result.memoryBandwidth)}/s`);
  return lines.join('\n');
}
