/** How a command is declared: options by commander, one function of the public door, one way to print its result. */
import { type Command, Option } from 'commander';
import { CACHE_FORMATS, LEAST_ATTENDED } from '../core/cache-format.ts';
import { FLOATS, listed } from '../core/precision.ts';
import { type JobOptions, SILENT } from '../core/progress.ts';
import { STEERING, visible, withShortWords } from '../core/shown.ts';
import { type ConvertOptions, ENGINES } from '../index.ts';
import type { Io } from './io.ts';
import { attendedTokens, threadCount } from './parse.ts';
import type { DrawnProgress } from './progress.ts';
import { wrapText } from './table.ts';

export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly threads?: number;
}

export interface CheckpointOptions extends CommonOptions {
  readonly adapter?: string;
  readonly allowNonfinite?: boolean;
}

/** The options of a function as the command line has them: those of its surroundings, and `Else`, come from elsewhere. */
export type Flags<T, Else extends keyof T> = CheckpointOptions &
  Omit<T, keyof JobOptions | 'hub' | 'nativeFolder' | 'allowNonFinite' | Else>;

export interface CommandContext {
  readonly io: Io;
  readonly progress: DrawnProgress;
  /** A command calls it when its check failed or its input had faults. Otherwise the exit code stays 0. */
  fail(exitCode?: number): void;
  /** Prints `result` as JSON if asked, else the text of `format` for a terminal of `width` columns, prose wrapped. */
  print<T>(options: CommonOptions, result: T, format: (result: T, width: number) => string): void;
}

/** Each file of `src/cli` exports one of these. `src/cli/index.ts` lists them. */
export type RegisterCommand = (program: Command, context: CommandContext) => void;

export function withCommonOptions(command: Command): Command {
  return command
    .option('--json', 'print one JSON object on stdout and nothing else there')
    .option('--quiet', 'no progress on stderr')
    .option('--threads <n>', "ONNX Runtime's threads (default: its own choice)", threadCount);
}

/** `does` is what is done with weights that are no numbers: "take", "write". */
export function withCheckpointOptions(command: Command, does: string): Command {
  return command
    .option('--adapter <dir>', 'LoRA adapter to merge into the checkpoint')
    .option('--allow-nonfinite', `${does} NaN and infinite weights instead of refusing them`);
}

/** "how weights are stored: fp32, int8 or int4 (default fp32)". */
export function storedAs(what: string, precisions: readonly string[]): string {
  return `${what}: ${listed(precisions, 'or')} (default ${FLOATS})`;
}

/** What does something with a model, as "runs the model". */
export function engineOption(does: string): Option {
  return new Option('--engine <name>', `what ${does} (default: native where it is built)`).choices(ENGINES);
}

/** What does it with the baseline. */
export function againstEngineOption(does: string): Option {
  const said = `what ${does} the baseline (default: as --engine); without --against it is the same folder`;
  return new Option('--against-engine <name>', said).choices(ENGINES);
}

/** How the native core keeps keys and values. */
export function cacheOption(): Option {
  return new Option('--cache <format>', 'how the native core keeps keys and values (default: fp32)').choices(
    CACHE_FORMATS,
  );
}

/** How the baseline's are kept. */
export function againstCacheOption(): Option {
  const said = "how the baseline's are kept (default: fp32); without --against it is the same folder";
  return new Option('--against-cache <format>', said).choices(CACHE_FORMATS);
}

/** How many tokens a token attends to at most. */
export function attendedOption(): Option {
  const said = `most tokens that a decoded token attends to, chosen by 4-bit keys; at least ${LEAST_ATTENDED} (default: all)`;
  return new Option('--attended <n>', said).argParser(attendedTokens);
}

/** How many the baseline's attend to. */
export function againstAttendedOption(): Option {
  const said = "how many the baseline's attend to at most (default: all); without --against it is the same folder";
  return new Option('--against-attended <n>', said).argParser(attendedTokens);
}

type CommandJob = Required<Pick<JobOptions, 'progress' | 'signal'>> & Pick<JobOptions, 'threads'>;

/** The options of every job, from those that every command takes and from the command's surroundings. */
export function jobOptions({ quiet, threads }: CommonOptions, { io, progress }: CommandContext): CommandJob {
  return { progress: quiet ? SILENT : progress, signal: io.signal, ...(threads !== undefined && { threads }) };
}

type CheckpointJob = CommandJob & Pick<ConvertOptions, 'adapter' | 'allowNonFinite' | 'hub'>;

/** The same, for a job that opens a checkpoint and may have to fetch it. */
export function sourceOptions(options: CheckpointOptions, context: CommandContext): CheckpointJob {
  const { adapter, allowNonfinite: allowNonFinite } = options;
  return { ...jobOptions(options, context), adapter, allowNonFinite, hub: context.io.hub };
}

/** Where the user's files are kept that can be made again; absent where the surroundings name no such folder. */
export function cacheFolderOf({ io }: CommandContext): string | undefined {
  return io.hub?.cacheFolder;
}

/** The options of a command alone, without those that `jobOptions` and `sourceOptions` read. */
export function ownOptions<T extends CheckpointOptions>(options: T): Omit<T, keyof CheckpointOptions> {
  const { json: _json, quiet: _quiet, threads: _threads, adapter: _adapter, allowNonfinite: _taken, ...own } = options;
  return own;
}

/** Columns of a text when the number is unknown, and the fewest columns that a layout uses. */
export const DEFAULT_WIDTH = 80;
const LEAST_WIDTH = 40;

/** JSON for a terminal too. JSON must escape fewer characters than a terminal obeys, but reads all of them escaped. */
export function printedJson(value: unknown): string {
  return JSON.stringify(value, null, 2).replace(
    STEERING,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

export function printerTo({ stdout }: Io): CommandContext['print'] {
  return (options, result, format) => {
    const width = Math.max(LEAST_WIDTH, stdout.columns || DEFAULT_WIDTH);
    const text = () => wrapText(visible(withShortWords(format(result, width))), width);
    stdout.write(options.json ? `${printedJson(result)}\n` : `${text()}\n`);
  };
}
