/**
 * Writes the weights of a layout into one file, with several threads side by side.
 *
 * Every thread takes the next job from one list, evaluates its weights a block at a time and writes them to their
 * place. So each thread holds a few blocks, and the file does not depend on which thread writes what.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { throwIfAborted } from '../../src/core/errors.ts';
import { keptFiles, reusedMemory, streamTensor } from '../../src/tensors/index.ts';
import { addToCrc32, joinCrc32 } from '../checksum.ts';
import { type PartialFile, writeAll } from '../files.ts';
import type { Layout, Slot } from './layout.ts';
import { canStartThreads, startWriting } from './write-thread.ts';

/** Slots that go together: the parts of a quantised matrix share the fits of its rows. */
type WriteJob = readonly Slot[];

/** What all threads see: plain data and shared memory. */
export interface SharedWork {
  readonly path: string;
  readonly jobs: readonly WriteJob[];
  /** Shared: the index of the next job, and whether all must stop. */
  readonly state: Int32Array;
}

const NEXT_JOB = 0;
const STOPPED = 1;

interface WrittenSlot {
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly crc32: number;
}

export type Report =
  | { readonly kind: 'advance'; readonly bytes: number }
  | { readonly kind: 'wrote'; readonly slot: WrittenSlot };

/** More threads would cost memory without saving time, because they wait for the disk. */
const MAX_THREADS = 4;

/** Starting a thread takes as long as writing this much. */
const BYTES_A_THREAD = 32 << 20;

interface WriteDataOptions {
  readonly signal?: AbortSignal | undefined;
  /** The most threads. Default: one for each core, up to 4. */
  readonly threads?: number | undefined;
  readonly advance: (bytes: number) => void;
}

/**
 * Fills `file` with the external data of `layout`, zeros between slots included. Returns their CRC-32.
 *
 * Throws the errors of evaluating and writing the weights, and `interrupted` when the signal is aborted. When it has
 * ended, nothing writes to the file any more.
 */
export async function writeExternalData(file: PartialFile, layout: Layout, options: WriteDataOptions): Promise<number> {
  const { signal } = options;
  await file.handle.truncate(layout.totalBytes);
  const work: SharedWork = {
    path: file.path,
    jobs: jobsOf(layout),
    state: new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT)),
  };
  const slots: WrittenSlot[] = [];
  const hear = (report: Report): void => {
    if (report.kind === 'wrote') slots.push(report.slot);
    else {
      file.written(report.bytes);
      options.advance(report.bytes);
      if (signal?.aborted) stop(work);
    }
  };
  const others = Array.from({ length: threadsFor(layout, options.threads) - 1 }, () => startWriting(work, hear));
  // All threads have ended before the first failure is thrown, because none may write to an abandoned file.
  const ends = await Promise.allSettled([doWork(work, hear), ...others]);
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  throwIfAborted(signal);
  return wholeChecksum(slots, layout);
}

/** Largest first, so that no thread is left alone with a long job at the end. */
function jobsOf({ slots }: Layout): WriteJob[] {
  const jobs = new Map<unknown, Slot[]>();
  for (const slot of slots) {
    const key = slot.data.kind === 'quantize' ? slot.data.from : slot;
    const job = jobs.get(key);
    if (job === undefined) jobs.set(key, [slot]);
    else job.push(slot);
  }
  const bytes = (job: WriteJob) => job.reduce((sum, { byteLength }) => sum + byteLength, 0);
  return [...jobs.values()].sort((a, b) => bytes(b) - bytes(a));
}

export function threadsFor(layout: Layout, wanted = Math.min(availableParallelism(), MAX_THREADS)): number {
  if (!canStartThreads) return 1;
  return Math.max(1, Math.min(wanted, jobsOf(layout).length, Math.ceil(layout.totalBytes / BYTES_A_THREAD)));
}

function stop({ state }: SharedWork): void {
  Atomics.store(state, STOPPED, 1);
}

function isStopped({ state }: SharedWork): boolean {
  return Atomics.load(state, STOPPED) === 1;
}

/** One thread's part. It does jobs until none is left, or until a thread fails, which stops all threads. */
export async function doWork(work: SharedWork, say: (report: Report) => void): Promise<void> {
  try {
    const handle = await open(work.path, 'r+');
    await doJobs(work, handle, say).finally(() => handle.close());
  } catch (error) {
    stop(work);
    throw error;
  }
}

async function doJobs(work: SharedWork, handle: FileHandle, say: (report: Report) => void): Promise<void> {
  const memory = reusedMemory();
  const files = keptFiles();
  // While a block is being written, the next one is made, also from slot to slot: most slots are one block.
  let writing = Promise.resolve();
  const write = async (block: Uint8Array, position: number): Promise<void> => {
    await writing;
    writing = writeAll(handle, block, position).then(() => say({ kind: 'advance', bytes: block.length }));
    // A failure shows at the next await, above or below.
    writing.catch(() => {});
  };
  try {
    for (let job = takeJob(work); job !== undefined; job = takeJob(work)) {
      const fits = {};
      for (const slot of job) {
        let [crc32, position] = [0, slot.byteOffset];
        for await (const block of streamTensor(slot.data, { memory, files, fits })) {
          if (isStopped(work)) return;
          crc32 = addToCrc32(block, crc32);
          await write(block, position);
          position += block.length;
        }
        const byteLength = position - slot.byteOffset;
        if (byteLength !== slot.byteLength)
          throw new RangeError(`A tensor of ${slot.byteLength} bytes yielded ${byteLength}`);
        say({ kind: 'wrote', slot: { byteOffset: slot.byteOffset, byteLength, crc32 } });
      }
    }
  } finally {
    await files.close();
    await writing;
  }
}

function takeJob(work: SharedWork): WriteJob | undefined {
  return isStopped(work) ? undefined : work.jobs[Atomics.add(work.state, NEXT_JOB, 1)];
}

/** CRC-32 of the file, from those of its slots and the zeros between them. */
function wholeChecksum(slots: readonly WrittenSlot[], { slots: wanted }: Layout): number {
  if (slots.length !== wanted.length) throw new Error(`${slots.length} of ${wanted.length} weights were written`);
  let [sum, position] = [0, 0];
  for (const { byteOffset, byteLength, crc32 } of [...slots].sort((a, b) => a.byteOffset - b.byteOffset)) {
    sum = joinCrc32(addToCrc32(new Uint8Array(byteOffset - position), sum), crc32, byteLength);
    position = byteOffset + byteLength;
  }
  return sum;
}
