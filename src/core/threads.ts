/** Threads of the built package. Each runs the code of one file, which says what the thread does. */
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { LacunaError } from './errors.ts';

/**
 * Where the build puts the code of a thread, as `formats/onnx/write-worker`. undefined without a build: Node 20 takes no
 * TypeScript.
 */
export function threadEntry(name: string): URL | undefined {
  // This code is in dist/chunks.
  const entry = new URL(`../${name}.js`, import.meta.url);
  return !import.meta.url.endsWith('.ts') && existsSync(entry) ? entry : undefined;
}

export interface Thread {
  readonly worker: Worker;
  /** Resolves when the thread has ended. Throws what it threw. */
  readonly ended: Promise<void>;
}

/** Starts a thread with `data`, and hears what it says. */
export function startThread<Said>(entry: URL, data: unknown, hear: (said: Said) => void): Thread {
  const worker = new Worker(entry, { workerData: data });
  worker.on('message', hear);
  const ended = new Promise<void>((resolve, reject) => {
    let failure: unknown;
    worker.on('error', (error) => {
      failure = revived(error);
    });
    worker.on('exit', () => (failure === undefined ? resolve() : reject(failure)));
  });
  return { worker, ended };
}

/** An error's class does not survive the way from one thread to another, but its fields do. */
function revived(error: Error): Error {
  const { code, message, hint, cause } = error as LacunaError;
  return error.name === 'LacunaError' ? new LacunaError(code, message, { ...(hint && { hint }), cause }) : error;
}
