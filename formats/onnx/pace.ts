/** Estimates the time for reading and converting a graph's weights: some of each kind is measured. */
import { byteLength, elementCount } from '../../src/core/dtype.ts';
import { throwIfAborted } from '../../src/core/errors.ts';
import type { Graph } from '../../src/core/graph.ts';
import type { JobOptions } from '../../src/core/progress.ts';
import type { TensorExpr } from '../../src/core/tensor.ts';
import { streamTensor } from '../../src/tensors/index.ts';
import { threadsFor } from './external-data.ts';
import { type Layout, layOut } from './layout.ts';

export interface Pace {
  /** For all weights of the graph, shared among `threads`. */
  readonly seconds: number;
  readonly threads: number;
  readonly measuredBytes: number;
}

/** Time for measuring one kind of weight: enough for some blocks. A model has few kinds. */
const SAMPLE_MS = 250;

/** Reads and converts some megabytes of each kind of weight. Writes nothing. Throws as `streamTensor` does. */
export async function estimatePace(graph: Graph, { signal, threads: wanted }: JobOptions = {}): Promise<Pace> {
  const layout = layOut(graph);
  const threads = threadsFor(layout, wanted);
  let [seconds, measuredBytes] = [0, 0];
  for (const { sample, elements } of kindsOf(layout)) {
    throwIfAborted(signal);
    const { bytes, milliseconds } = await timeSample(sample);
    const share = bytes / byteLength(sample.dtype, sample.shape);
    seconds += ((milliseconds / 1000) * elements) / (share * weightsIn(sample));
    measuredBytes += bytes;
  }
  return { seconds: seconds / threads, threads, measuredBytes };
}

/** Weights made by the same steps from the same types: how many, and the largest, of which a part is made. */
function kindsOf(layout: Layout) {
  const kinds = new Map<string, { readonly sample: TensorExpr; readonly elements: number }>();
  // The parts of a quantised matrix are made with its codes, and nearly all of the time goes there.
  const slots = layout.slots.filter(({ data }) => data.kind !== 'quantize' || data.part === 'codes');
  for (const { data } of slots) {
    const key = recipeOf(data);
    const known = kinds.get(key);
    const larger = known === undefined || weightsIn(data) > weightsIn(known.sample) ? data : known.sample;
    kinds.set(key, { sample: larger, elements: (known?.elements ?? 0) + weightsIn(data) });
  }
  return [...kinds.values()];
}

/** Numbers that must be read to make a tensor: a byte of codes holds two of 4 bits. */
function weightsIn(tensor: TensorExpr): number {
  return elementCount(tensor.kind === 'quantize' ? tensor.from.shape : tensor.shape);
}

/** The steps that make a tensor's bytes, without its sizes. */
function recipeOf(tensor: TensorExpr): string {
  switch (tensor.kind) {
    case 'file':
    case 'bytes':
      return tensor.dtype;
    case 'waves':
      return tensor.kind;
    case 'ggml':
      return tensor.type;
    case 'concat':
      return recipeOf(tensor.parts[0]);
    case 'records':
      return JSON.stringify([tensor.kind, tensor.parts.map(recipeOf)]);
    case 'quantize':
      return JSON.stringify([tensor.scheme, tensor.importance !== undefined, recipeOf(tensor.from)]);
    default:
      return `${tensor.kind} ${tensor.dtype} ${recipeOf(tensor.from)}`;
  }
}

/** The first block does not count if others follow: its time includes opening the file and compiling the code. */
async function timeSample(sample: TensorExpr): Promise<{ readonly bytes: number; readonly milliseconds: number }> {
  const begun = performance.now();
  let [counted, start] = [0, begun];
  let blocks = 0;
  let first = 0;
  for await (const block of streamTensor(sample)) {
    blocks++;
    if (blocks === 1) [first, start] = [block.length, performance.now()];
    else counted += block.length;
    if (performance.now() - begun > SAMPLE_MS && blocks > 1) break;
  }
  const ended = performance.now();
  return blocks > 1 ? { bytes: counted, milliseconds: ended - start } : { bytes: first, milliseconds: ended - begun };
}
