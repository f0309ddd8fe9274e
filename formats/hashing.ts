/** sha256 of a stream while it flows by, on a thread of its own: hashing takes as long as converting and writing together. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/** Blocks on their way to the thread; more would only fill memory when hashing is the slowest part. */
const MAX_PENDING = 4;

/** The thread's program, as text because a worker's file would have to be found from sources and from a bundle alike. */
const WORKER = `
  const { parentPort } = require('node:worker_threads');
  const hash = require('node:crypto').createHash('sha256');
  parentPort.on('message', (block) => {
    if (block === null) return parentPort.postMessage(hash.digest('hex'));
    hash.update(block);
    parentPort.postMessage(null);
  });
`;

export interface HashedStream {
  /** The same blocks. */
  readonly blocks: AsyncGenerator<Uint8Array>;
  /** sha256 of all of them, as 64 hexadecimal digits, once `blocks` has ended. */
  readonly digest: () => string;
}

/** Passes `source` on and hashes it on the way; the thread ends with the stream, also when that is broken off. */
export function hashing(source: AsyncIterable<Uint8Array>): HashedStream {
  let digest: string | undefined;
  async function* pass(): AsyncGenerator<Uint8Array> {
    const worker = new Worker(WORKER, { eval: true });
    try {
      let pending = 0;
      worker.on('message', () => pending--);
      for await (const block of source) {
        // Copied on its way: a block may be a view of constants that others still need.
        worker.postMessage(block);
        pending++;
        yield block;
        while (pending >= MAX_PENDING) await once(worker, 'message');
      }
      while (pending > 0) await once(worker, 'message');
      worker.postMessage(null);
      [digest] = await once(worker, 'message');
    } finally {
      await worker.terminate();
    }
  }
  return {
    blocks: pass(),
    digest() {
      if (digest === undefined) throw new Error('A stream has no hash before its end');
      return digest;
    },
  };
}
