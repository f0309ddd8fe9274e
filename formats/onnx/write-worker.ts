/** The code of a thread that writes weights. */
import { parentPort, workerData } from 'node:worker_threads';
import { asIoError } from '../../src/core/io-error.ts';
import { doWork, type SharedWork } from './external-data.ts';
import { asFailure, type Message } from './write-thread.ts';

const work = workerData as SharedWork;
const say = (message: Message) => parentPort?.postMessage(message);

try {
  await doWork(work, {
    advance: (bytes) => say({ kind: 'advance', bytes }),
    wrote: (slot) => say({ kind: 'wrote', slot }),
  });
} catch (error) {
  say({ kind: 'failed', failure: asFailure(asIoError(error, 'write', work.path)) });
}
