/** How a command is declared: options by commander, one function of the public door, one way to print its result. */
import { type Command, Option } from 'commander';
import type { HubOptions } from '../core/hub.ts';
import { FLOATS, listed } from '../core/precision.ts';
import { type JobOptions, SILENT } from '../core/progress.ts';
import { STEERING, visible, withShortWords } from '../core/shown.ts';
import { ENGINES } from '../index.ts';
import type { Io } from './io.ts';
import { threadCount } from './parse.ts';
import type { DrawnProgress } from './progress.ts';
import { wrapText } from './table.ts';

/** Options that every command takes. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly threads?: number;
}

export interface CommandContext {
  readonly io: Io;
  readonly progress: DrawnProgress;
  /** A command calls it when its check failed or its input had faults. Otherwise the exit code stays 0. */
  fail(exitCode?: number): void;
}

/** Each file of `src/cli` exports one of these. `src/cli/index.ts` lists them. */
export type RegisterCommand = (program: Command, context: CommandContext) => void;

export function withCommonOptions(command: Command): Command {
  return command
    .option('--json', 'print one JSON object on stdout and nothing else there')
    .option('--quiet', 'no progress on stderr')
    .option('--threads <n>', "ONNX Runtime's threads (default: its own choice)", threadCount);
}

/** "how weights are stored: fp32, int8 or int4 (default fp32)". */
export function storedAs(what: string, precisions: readonly string[]): string {
  return `${what}: ${listed(precisions, 'or')} (default ${FLOATS})`;
}

/** An option with a choice of engines. */
export function engineOption(flags: string, description: string): Option {
  return new Option(flags, description).choices(ENGINES);
}

type CommandJob = Required<Pick<JobOptions, 'progress' | 'signal'>> & Pick<JobOptions, 'threads'>;

/** The options of every job, from those that every command takes and from the command's surroundings. */
export function jobOptions({ quiet, threads }: CommonOptions, { io, progress }: CommandContext): CommandJob {
  return {
    progress: quiet ? SILENT : progress,
    signal: io.signal,
    ...(threads !== undefined && { threads }),
  };
}

/** The same, for a job that may have to download its checkpoint. */
export function sourceOptions(
  options: CommonOptions,
  context: CommandContext,
): CommandJob & { readonly hub?: HubOptions } {
  const { hub } = context.io;
  return { ...jobOptions(options, context), ...(hub !== undefined && { hub }) };
}

/** The command's own options, without those that every command takes. */
export function ownOptions<T extends CommonOptions>(options: T): Omit<T, keyof CommonOptions> {
  const { json: _json, quiet: _quiet, threads: _threads, ...own } = options;
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

/**
 * Prints `result` as JSON if asked, else the text that `format` makes for a terminal of `width` columns. Prose is
 * wrapped.
 */
export function print<T>(
  { stdout }: Io,
  options: CommonOptions,
  result: T,
  format: (result: T, width: number) => string,
): void {
  const width = Math.max(LEAST_WIDTH, stdout.columns || DEFAULT_WIDTH);
  const text = () => wrapText(visible(withShortWords(format(result, width))), width);
  stdout.write(options.json ? `${printedJson(result)}\n` : `${text()}\n`);
}
