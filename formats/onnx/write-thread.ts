/** Threads that write weights: how one is started, and its messages. */
import { Worker } from 'node:worker_threads';
import { LacunaError } from '../../src/core/errors.ts';
import { asIoError } from '../../src/core/io-error.ts';
import type { Report, SharedWork, WrittenSlot } from './external-data.ts';

/** What a thread says. */
export type Message =
  | { readonly kind: 'advance'; readonly bytes: number }
  | { readonly kind: 'wrote'; readonly slot: WrittenSlot };

/** The build puts this code into dist/chunks. Without a build there are no threads: Node 20 takes no TypeScript. */
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
      else report.wrote(message.slot);
    });
    worker.on('error', (error) => {
      failure = asIoError(revived(error), 'write', work.path);
    });
    worker.on('exit', () => (failure === undefined ? resolve() : reject(failure)));
  });
}

/** An error's class does not survive the way from one thread to another, but its fields do. */
function revived(error: Error): Error {
  const { code, message, hint, cause } = error as LacunaError;
  return error.name === 'LacunaError' ? new LacunaError(code, message, { ...(hint && { hint }), cause }) : error;
}
