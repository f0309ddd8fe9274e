/** The code of a thread that adds sequences to the sums of statistics. */
import { parentPort, workerData } from 'node:worker_threads';
import { answerCalls } from './threads.ts';

const answer = answerCalls(workerData, (sums, transfer) => parentPort?.postMessage(sums, transfer));
parentPort?.on('message', answer);
