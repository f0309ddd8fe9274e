/** Starts threads that write weights. */
import { asIoError } from '../../src/core/io-error.ts';
import { startThread, threadEntry } from '../../src/core/threads.ts';
import type { Report, SharedWork } from './external-data.ts';

const ENTRY = threadEntry('formats/onnx/write-worker');

export const canStartThreads = ENTRY !== undefined;

/** Lets another thread do jobs of `work`. Resolves when it has ended. Throws what it threw. */
export async function startWriting(work: SharedWork, hear: (report: Report) => void): Promise<void> {
  if (ENTRY === undefined) throw new Error('There are no threads without a build');
  try {
    await startThread(ENTRY, work, hear).ended;
  } catch (error) {
    throw asIoError(error, 'write', work.path);
  }
}
