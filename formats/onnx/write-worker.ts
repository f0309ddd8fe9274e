/** The code of a thread that writes weights. */
import { parentPort, workerData } from 'node:worker_threads';
import { doWork } from './external-data.ts';

await doWork(workerData, (report) => parentPort?.postMessage(report));
