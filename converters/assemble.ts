/** Joins a model's pieces into the one graph that is written to disk. */
import { BASE_OPSETS, type Graph, oneOfEachName } from '../src/core/graph.ts';
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
    inputs: oneOfEachName(inputs),
    outputs: [...head.outputs, ...caches],
    initializers: oneOfEachName(all.flatMap((piece) => piece.initializers)),
    nodes: all.flatMap((piece) => piece.nodes),
    functions: [],
    opsets: BASE_OPSETS,
    metadata: {},
  };
}
