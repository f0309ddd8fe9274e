/** The code of a thread that writes weights. */
import { parentPort, workerData } from 'node:worker_threads';
import { doWork, type SharedWork } from './external-data.ts';
import type { Message } from './write-thread.ts';

const say = (message: Message) => parentPort?.postMessage(message);

await doWork(workerData as SharedWork, {
  advance: (bytes) => say({ kind: 'advance', bytes }),
  wrote: (slot) => say({ kind: 'wrote', slot }),
});
