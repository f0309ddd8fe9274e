/** Starts threads that write weights. */
import { Worker } from 'node:worker_threads';
import { LacunaError } from '../../src/core/errors.ts';
import { asIoError } from '../../src/core/io-error.ts';
import type { Report, SharedWork } from './external-data.ts';

/** The build puts this code into dist/chunks. Without a build there are no threads: Node 20 takes no TypeScript. */
const ENTRY = import.meta.url.endsWith('.ts') ? undefined : new URL('../formats/onnx/write-worker.js', import.meta.url);

export const canStartThreads = ENTRY !== undefined;

/** Lets another thread do jobs of `work`. Resolves when it has ended. Throws what it threw. */
export function startThread(work: SharedWork, hear: (report: Report) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    if (ENTRY === undefined) throw new Error('There are no threads without a build');
    const worker = new Worker(ENTRY, { workerData: work });
    let failure: unknown;
    worker.on('message', hear);
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
