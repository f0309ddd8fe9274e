/** Joins a model's pieces into the one graph that is written to disk. */
import { BASE_OPSETS, type Graph, type Initializer, type ValueInfo } from '../src/core/graph.ts';
import type { ModelPieces } from '../src/core/model.ts';

/**
 * The whole model: `input_ids`, `attention_mask` and the caches in; `logits` and the new caches out. `position_ids`
 * stays an inner value, for rules that need positions.
 *
 * @example const graph = assemble(openModel(checkpoint, { precision: 'fp32' }));
 */
export function assemble(pieces: ModelPieces): Graph {
  const embed = pieces.embed();
  const layers = Array.from({ length: pieces.spec.numHiddenLayers }, (_, index) => pieces.layer(index));
  const head = pieces.head();
  const all = [embed, ...layers, head];
  const made = new Set(all.flatMap((piece) => piece.outputs.map((output) => output.name)));
  const inputs = all.flatMap((piece) => piece.inputs.filter((input) => !made.has(input.name)));
  const caches = layers.flatMap((piece) => piece.outputs.filter((output) => output.name.startsWith('present.')));
  return {
    name: pieces.spec.modelType,
    inputs: uniqueByName(inputs),
    outputs: [...head.outputs, ...caches],
    initializers: uniqueByName(all.flatMap((piece) => piece.initializers)),
    nodes: all.flatMap((piece) => piece.nodes),
    functions: [],
    opsets: BASE_OPSETS,
    metadata: {},
  };
}

/** The first of each name. Pieces that share a value or a weight give it the same name. */
function uniqueByName<T extends ValueInfo | Initializer>(items: readonly T[]): T[] {
  const byName = new Map<string, T>();
  for (const item of items) if (!byName.has(item.name)) byName.set(item.name, item);
  return [...byName.values()];
}
