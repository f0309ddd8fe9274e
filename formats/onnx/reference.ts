/** A model on disk, edited in memory. Its large weights stay in their file. */
import { basename, dirname, resolve } from 'node:path';
import { byteLength } from '../../src/core/dtype.ts';
import type { Graph } from '../../src/core/graph.ts';
import type { ModelBeside } from '../../src/core/runner.ts';
import { encodeGraph } from './encode.ts';
import type { Slot } from './layout.ts';

/**
 * Encodes `graph`, which was made from `readOnnx(modelPath)`, without copying the weights in the model's data file. All
 * other weights go into the bytes. A runtime opens the result as if it lay in `folder`.
 *
 * @example
 * const graph = withCounts(await readOnnx(modelPath));
 * const outputs = [...graph.outputs, { name: 'layers.0.kept', dtype: 'int32', shape: ['batch_size', 'sequence_length']
 * }];
 * const { model, folder } = await encodeReferencing({ ...graph, outputs }, modelPath);
 */
export async function encodeReferencing(graph: Graph, modelPath: string): Promise<ModelBeside> {
  const dataPath = resolve(`${modelPath}_data`);
  const slotOf = new Map<string, Slot>();
  for (const { name, data } of graph.initializers)
    if (data.kind === 'file' && resolve(data.path) === dataPath)
      slotOf.set(name, { byteOffset: data.byteOffset, byteLength: byteLength(data.dtype, data.shape), data });
  const layout = { slots: [...slotOf.values()], slotOf, totalBytes: 0 };
  return { model: await encodeGraph(graph, layout, basename(dataPath)), folder: dirname(modelPath) };
}
