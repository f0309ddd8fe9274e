/** The one error class of Lacuna: every error that a user can cause is a `LacunaError`. */
import { shown } from './shown.ts';

/** What kind of thing went wrong. Codes are stable: programs may branch on them. */
export const ERROR_CODES = [
  'usage', // an option or argument is wrong
  'not-found', // a file, folder, shard or tensor is missing
  'exists', // an output is already there
  'bad-file', // a file does not hold what its format requires
  'unsupported', // valid, but not supported here
  'mismatch', // two things that must agree do not (config and tensors, plan and model)
  'non-finite', // NaN or infinity where numbers are needed
  'io', // the system refused to read or write
  'runtime', // ONNX Runtime refused or failed
  'check-failed', // a measured quality is over its budget
  'interrupted', // stopped by a signal
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export interface ErrorDetails {
  /** What to do about it: a command to type or an edit to make. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/**
 * A failure with a stable `code`, a message that says what was wanted and what was found, and a `hint`. Both texts may
 * quote a file: they are shortened, and control characters are escaped.
 *
 * @example throw new LacunaError('not-found', 'No config.json in ./model', { hint: 'Give a checkpoint.' });
 */
export class LacunaError extends Error {
  override readonly name = 'LacunaError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(shown(message), details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.hint = details.hint === undefined ? undefined : shown(details.hint);
  }
}

/** "Expected <what> for <name> but received <value>": the one wording for a wrong argument. */
export function invalidArgument(name: string, wanted: string, got: unknown): LacunaError {
  return new LacunaError('usage', `Expected ${wanted} for ${name} but received ${received(got)}`);
}

function received(value: unknown): string {
  if (typeof value === 'string') return `"${value}"`;
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}

/** Throws the signal's reason as an `interrupted` error once it is aborted. Long loops call it once for each step. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new LacunaError('interrupted', 'Stopped.', { cause: signal.reason });
}
