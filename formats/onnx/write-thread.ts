/** Threads that write weights: how one is started, and its messages. */
import { Worker } from 'node:worker_threads';
import { type ErrorCode, LacunaError } from '../../src/core/errors.ts';
import type { Report, SharedWork, WrittenSlot } from './external-data.ts';

/** What a thread says. */
export type Message =
  | { readonly kind: 'advance'; readonly bytes: number }
  | { readonly kind: 'wrote'; readonly slot: WrittenSlot }
  | { readonly kind: 'failed'; readonly failure: Failure };

/** An error. Its class does not survive the way from one thread to another. */
export interface Failure {
  readonly code?: ErrorCode;
  readonly hint?: string | undefined;
  readonly message: string;
  readonly stack?: string | undefined;
}

/**
 * The build puts this file's code into dist/chunks. Sources that run without a build have no threads, because Node 20
 * takes no TypeScript.
 */
const ENTRY = import.meta.url.endsWith('.ts') ? undefined : new URL('../formats/onnx/write-worker.js', import.meta.url);

export const canStartThreads = ENTRY !== undefined;

/** Lets another thread do jobs of `work`. Resolves when it has ended. Throws what it threw. */
export function startThread(work: SharedWork, report: Report): Promise<void> {
  return new Promise((resolve, reject) => {
    if (ENTRY === undefined) throw new Error('There are no threads without a build');
    const worker = new Worker(ENTRY, { workerData: work });
    let failure: unknown;
    worker.on('message', (message: Message) => {
      if (message.kind === 'advance') report.advance(message.bytes);
      else if (message.kind === 'wrote') report.wrote(message.slot);
      else failure = asError(message.failure);
    });
    worker.on('error', (error) => {
      failure ??= error;
    });
    worker.on('exit', () => (failure === undefined ? resolve() : reject(failure)));
  });
}

/** `error` in the form that is sent. */
export function asFailure(error: unknown): Failure {
  if (error instanceof LacunaError) return { code: error.code, hint: error.hint, message: error.message };
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  return { message, stack };
}

function asError({ code, hint, message, stack }: Failure): Error {
  if (code !== undefined) return new LacunaError(code, message, hint === undefined ? {} : { hint });
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}
