/** `Graph` -> files: `model.onnx`, and `model.onnx_data` beside it, streamed so that weights never fill memory. */
import { rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { throwIfAborted } from '../../src/core/errors.ts';
import type { Graph } from '../../src/core/graph.ts';
import { type JobOptions, type ProgressStage, SILENT } from '../../src/core/progress.ts';
import { checksummed, checksumOf } from '../checksum.ts';
import { writeFileAtomically } from '../files.ts';
import { keptFits } from '../quantize/index.ts';
import { reusedMemory, streamTensor } from '../tensor-data.ts';
import { encodeGraph } from './encode.ts';
import { type Layout, layOut } from './layout.ts';

export type WriteOptions = Pick<JobOptions, 'signal' | 'progress'>;

export interface WrittenFile {
  readonly path: string;
  readonly bytes: number;
  readonly crc32: string;
}

/**
 * Writes a model and, when it has large weights, `<modelPath>_data`. The data get their name first, so that a model is
 * never seen without them; after a failure neither is there.
 * Returns the files with their checksums, taken while they were written.
 *
 * Equal graphs give equal bytes. Throws `io` when the disk refuses, `interrupted` when the signal is aborted, and what
 * reading the weights throws.
 *
 * @example const [model, data] = await writeOnnx(graph, 'out/onnx/model.onnx', { progress });
 */
export async function writeOnnx(graph: Graph, modelPath: string, options: WriteOptions = {}): Promise<WrittenFile[]> {
  const layout = layOut(graph);
  const dataPath = `${modelPath}_data`;
  const model = await encodeGraph(graph, layout, basename(dataPath));
  throwIfAborted(options.signal);
  const modelFile = { path: modelPath, bytes: model.length, crc32: checksumOf(model) };
  if (layout.totalBytes === 0) {
    await writeFileAtomically(modelPath, model);
    return [modelFile];
  }
  const crc32 = await writeData(layout, dataPath, `Writing ${basename(modelPath)}`, options);
  try {
    await writeFileAtomically(modelPath, model);
    return [modelFile, { path: dataPath, bytes: layout.totalBytes, crc32 }];
  } catch (error) {
    await rm(dataPath, { force: true });
    throw error;
  }
}

async function writeData(layout: Layout, path: string, label: string, options: WriteOptions): Promise<string> {
  const { signal, progress = SILENT } = options;
  const stage = progress.stage(label, layout.totalBytes, 'bytes');
  const { blocks, checksum } = checksummed(readAhead(dataBlocks(layout, signal, stage)));
  await writeFileAtomically(path, blocks);
  stage.done();
  return checksum();
}

/**
 * The external data from the first byte to the last, zeros between slots included. A tensor's first block is asked for
 * while the one before is still handed out: most tensors are one block, whose reading nothing else would overlap.
 */
async function* dataBlocks(
  { slots }: Layout,
  signal: AbortSignal | undefined,
  stage: ProgressStage,
): AsyncGenerator<Uint8Array> {
  // Two tensors are under way at once, in memory of their own.
  const memories = [reusedMemory(), reusedMemory()];
  const fits = keptFits();
  const begin = (index: number): Begun => {
    const blocks = streamTensor(slots[index].data, { signal, memory: memories[index % 2], fits });
    // Quantised parts of one tensor share the fits of its rows: they go one after the other.
    return slots[index].data.kind === 'quantize' ? { blocks } : { blocks, first: started(blocks) };
  };
  let position = 0;
  let ahead: Begun | undefined;
  try {
    for (const [index, slot] of slots.entries()) {
      if (slot.byteOffset > position) yield new Uint8Array(slot.byteOffset - position);
      position = slot.byteOffset;
      const current = ahead ?? begin(index);
      ahead = index + 1 < slots.length ? begin(index + 1) : undefined;
      for await (const block of blocksFrom(current)) {
        throwIfAborted(signal);
        yield block;
        position += block.length;
        stage.advance(block.length);
      }
      const written = position - slot.byteOffset;
      if (written !== slot.byteLength) throw new RangeError(`A tensor of ${slot.byteLength} bytes yielded ${written}`);
    }
  } finally {
    await ahead?.first?.catch(() => {});
    await ahead?.blocks.return(undefined);
  }
}

interface Begun {
  readonly blocks: AsyncGenerator<Uint8Array>;
  readonly first?: Promise<IteratorResult<Uint8Array>>;
}

/** A failure is met when the block's turn comes, or by nobody when the writer gives up before. */
function started(blocks: AsyncGenerator<Uint8Array>): Promise<IteratorResult<Uint8Array>> {
  const first = blocks.next();
  first.catch(() => {});
  return first;
}

async function* blocksFrom({ blocks, first }: Begun): AsyncGenerator<Uint8Array> {
  try {
    for (let step = await (first ?? blocks.next()); !step.done; step = await blocks.next()) yield step.value;
  } finally {
    await blocks.return(undefined);
  }
}

/** Asks for the next block before it hands out this one: reading and converting go on while the disk writes. */
async function* readAhead<T>(source: AsyncGenerator<T>): AsyncGenerator<T> {
  let next = source.next();
  try {
    for (;;) {
      const { done, value } = await next;
      if (done) return;
      next = source.next();
      // Awaited in the next round; until then a failure must not count as unhandled.
      next.catch(() => {});
      yield value;
    }
  } finally {
    // Closes the file being read, also when the writer gave up half-way.
    await next.catch(() => {});
    await source.return(undefined);
  }
}
