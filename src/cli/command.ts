/** How a command is declared: options by commander, one function of the public door, one way to print its result. */
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { HubOptions } from '../core/hub.ts';
import { type JobOptions, type Progress, SILENT } from '../core/progress.ts';
import { EXIT, type Io } from './io.ts';
import { createProgress } from './progress.ts';

/** Options that every command takes. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly threads?: number;
}

export interface CommandContext {
  readonly io: Io;
  /** Set by a command whose check failed; the exit code otherwise stays 0. */
  fail(): void;
}

/** One file of `src/cli` exports one of these; `src/cli/index.ts` lists them. */
export type RegisterCommand = (program: Command, context: CommandContext) => void;

export function withCommonOptions(command: Command): Command {
  return command
    .option('--json', 'print one JSON object on stdout and nothing else there')
    .option('--quiet', 'no progress on stderr')
    .option('--threads <n>', "ONNX Runtime's threads (default: its own choice)", positiveInteger);
}

/** What every command passes on: progress, stopping, threads, and where models come from by name. */
export function jobOptions(
  options: CommonOptions,
  io: Io,
): JobOptions & { readonly progress: Progress; readonly hub?: HubOptions } {
  return {
    progress: options.quiet ? SILENT : createProgress(io.stderr),
    signal: io.signal,
    ...(io.hub === undefined ? {} : { hub: io.hub }),
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  };
}

/** Prints `result` as JSON when asked, else the text that `format` makes of it. */
export function print<T>(io: Io, options: CommonOptions, result: T, format: (result: T) => string): void {
  io.stdout.write(options.json ? `${JSON.stringify(result, null, 2)}\n` : `${format(result)}\n`);
}

export function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError(`Expected a whole number of at least 1.`);
  return value;
}

export function nonNegativeInteger(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value) || value < 0)
    throw new InvalidArgumentError('Expected a whole number of at least 0.');
  return value;
}

/** A share between 0 and 1, also written as a percentage: "0.25" or "25%". */
export function share(text: string): number {
  const value = text.endsWith('%') ? Number(text.slice(0, -1)) / 100 : Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 1))
    throw new InvalidArgumentError('Expected a share from 0 to 1, or 0% to 100%.');
  return value;
}

export function cosine(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= -1 && value <= 1))
    throw new InvalidArgumentError('Expected a cosine from -1 to 1.');
  return value;
}

export function positiveNumber(text: string): number {
  const value = Number(text);
  if (!(value > 0) || !Number.isFinite(value)) throw new InvalidArgumentError('Expected a number above 0.');
  return value;
}

export { EXIT };
