/** `lacuna bench`. */
import { LacunaError } from '../core/errors.ts';
import { formatBytes, percent, signedPercent } from '../core/figures.ts';
import { type BenchOptions, type BenchReport, bench, type FailedPeer, type TimedPeer } from '../index.ts';
import {
  againstAttendedOption,
  againstCacheOption,
  againstEngineOption,
  attendedOption,
  type CommandContext,
  cacheFolderOf,
  cacheOption,
  engineOption,
  type Flags,
  jobOptions,
  ownOptions,
  type RegisterCommand,
  withCommonOptions,
} from './command.ts';
import { positiveInteger, positiveNumber } from './parse.ts';
import { foldedTable, wrap } from './table.ts';

type Options = Flags<BenchOptions, 'cacheFolder' | 'folder' | 'peers' | 'stepsPerBlock'> & {
  readonly steps?: number;
  readonly peers?: boolean;
  readonly python?: string;
  readonly gguf?: string;
};

export const registerBench: RegisterCommand = (program, context) => {
  const command = program
    .command('bench')
    .description('time decoding, interleaved with a baseline in one process')
    .argument('<dir>', 'folder made by convert, sparsify or build')
    .option('--against <dir>', 'folder to compare with')
    .option('--dtype <name>', 'precision to time, where the folder has several (default: its first)')
    .option('--against-dtype <name>', "the baseline's precision; without --against it is one of the same folder")
    .addOption(engineOption('decodes'))
    .addOption(againstEngineOption('decodes'))
    .addOption(cacheOption())
    .addOption(againstCacheOption())
    .addOption(attendedOption())
    .addOption(againstAttendedOption())
    .option('--data <file...>', 'texts, UTF-8 or JSONL, to decode along (default: the pinned "test" text)')
    .option('--prompt-tokens <n>', 'tokens in the cache when decoding starts (default 128)', positiveInteger)
    .option('--repeats <n>', 'how often models are opened anew (default 5)', positiveInteger)
    .option('--rounds <n>', 'rounds to time in each repeat (default 2)', positiveInteger)
    .option('--steps <n>', 'tokens a block; a round has two blocks of each (default 16)', positiveInteger)
    .option(
      '--until-sure <seconds>',
      'repeat until it is sure which is faster, or for so long (--repeats is the most then, default 50)',
      positiveNumber,
    )
    .option('--peers', 'then time onnxruntime-genai, and llama.cpp with --gguf, in turn with it')
    .option('--python <path>', 'Python that has them (default: LACUNA_PYTHON, .venv, python3)')
    .option('--gguf <file>', 'the same weights for llama.cpp');
  withCommonOptions(command).action(async (folder: string, options: Options) => {
    const { steps: stepsPerBlock, python: _python, gguf: _gguf, ...own } = ownOptions(options);
    const peers = peersOf(options, context);
    const { nativeFolder } = context.io;
    const cacheFolder = cacheFolderOf(context);
    const result = await bench({
      ...own,
      nativeFolder,
      cacheFolder,
      folder,
      stepsPerBlock,
      peers,
      ...jobOptions(options, context),
    });
    context.print(options, result, formatBench);
  });
};

function peersOf({ peers, python, gguf }: Options, { io }: CommandContext): BenchOptions['peers'] {
  if (peers) return { python: python ?? io.python, gguf };
  if (python === undefined && gguf === undefined) return undefined;
  throw new LacunaError('usage', '--python and --gguf say what to compare with, and --peers is not given');
}

function formatBench(result: BenchReport, width: number): string {
  const rows = result.subjects.map(
    ({ name, decodeTokensPerSecond: decode, prefillTokensPerSecond: prefill, ...subject }) => [
      name,
      decode.median.toFixed(1),
      `${decode.p10.toFixed(1)}-${decode.p90.toFixed(1)}`,
      prefill.median.toFixed(0),
      subject.weightBytesPerToken === null ? '-' : formatBytes(subject.weightBytesPerToken),
      subject.bandwidthShare === null ? '-' : percent(subject.bandwidthShare, 0),
      subject.expectedTokensPerSecond === null ? '-' : subject.expectedTokensPerSecond.toFixed(1),
      subject.expectedError === null ? '-' : signedPercent(subject.expectedError, 0),
    ],
  );
  const header = ['model', 'decode tok/s', 'p10-p90', 'prefill', 'weights', 'bandwidth', 'expected', 'error'];
  const lines = [foldedTable(header, rows, width), ''];
  for (const [kind, ratio] of Object.entries({ decode: result.speedup, prefill: result.prefillSpeedup })) {
    if (ratio === null) continue;
    const [median, p10, p90] = [ratio.median, ratio.p10, ratio.p90].map((value) => value.toFixed(3));
    const expected =
      kind === 'decode' && result.expectedSpeedup !== null ? `, expected ${result.expectedSpeedup.toFixed(3)}x` : '';
    lines.push(`${kind} speed-up ${median}x (p10-p90 ${p10}-${p90})${expected}`);
  }
  const { repeats, rounds, stepsPerBlock, promptTokens, threads } = result;
  lines.push(
    `repeats, each in sessions opened anew: ${repeats}; rounds in each: ${rounds}, of ${2 * result.subjects.length} x ${stepsPerBlock} tokens`,
    `prompt of ${promptTokens} tokens, threads: ${threads ?? "ONNX Runtime's choice"}`,
    'prefill in tok/s; weights: bytes of them that a decoded token reads; bandwidth: share of the memory bandwidth that this takes',
    'expected: decode tok/s by the costs of this host (lacuna host), and how far the time of a step is off',
  );
  if (result.memoryBandwidth !== null)
    lines.push(`memory bandwidth, as many threads reading in order: ${formatBytes(result.memoryBandwidth)}/s`);
  if (result.peers !== null) lines.push('', peersText(result.peers, width));
  return lines.join('\n');
}

function peersText(peers: NonNullable<BenchReport['peers']>, width: number): string {
  const rows = peers.flatMap((peer) => ('failure' in peer ? [] : [peerRow(peer)]));
  const header = ['peer, in turn with it', 'decode tok/s', 'prefill tok/s', 'faster than it (p10-p90)'];
  const reasons = peers.flatMap((peer) => ('failure' in peer ? [wrap(reasonOf(peer), width, '  ')] : []));
  return [...(rows.length === 0 ? [] : [foldedTable(header, rows, width)]), ...reasons].join('\n');
}

function peerRow({ name, version, decodeTokensPerSecond, prefillTokensPerSecond, speedup }: TimedPeer): string[] {
  return [
    `${name} ${version}`,
    decodeTokensPerSecond.median.toFixed(1),
    prefillTokensPerSecond.median.toFixed(0),
    `${speedup.median.toFixed(2)}x (${speedup.p10.toFixed(2)}-${speedup.p90.toFixed(2)})`,
  ];
}

function reasonOf({ name, version, failure }: FailedPeer): string {
  return `${version === null ? name : `${name} ${version}`} was not timed: ${failure}`;
}
