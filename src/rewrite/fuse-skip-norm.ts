/** Residual addition and the norm after it in one operator, within layers, across their border and before the head. */
import { attr, CONTRIB_DOMAIN, type Node } from '../core/graph.ts';
import { type GraphIndex, indexGraph, replaceNodes } from './graph-index.ts';
import type { Pass, RuleReport } from './pass.ts';
import { inferShapes, type ShapeOf, sameShape } from './shapes.ts';

/**
 * Before: sum = Add(a, b); normed = SimplifiedLayerNormalization(sum, weight)
 * After:  normed, '', '', sum = SkipSimplifiedLayerNormalization(a, b, weight), both values under their old names
 *
 * Refuses where a and b are not known to have one shape of 2 or 3 dimensions (the operator does not broadcast as Add
 * does), where the norm is not over the last axis or its weight is computed, and where the sum is normed a second time.
 */
export const fuseSkipNorm: Pass = {
  name: 'fuse-skip-norm',
  description: 'Add, SimplifiedLayerNormalization -> SkipSimplifiedLayerNormalization',
  apply(graph) {
    const index = indexGraph(graph);
    const shapeOf = inferShapes(index);
    const replacements = new Map<Node, readonly Node[]>();
    const report: RuleReport[] = [];
    for (const norm of graph.nodes) {
      if (norm.opType !== 'SimplifiedLayerNormalization') continue;
      const where = { rule: fuseSkipNorm.name, block: norm.inputs[0] };
      const add = index.producer(where.block);
      const refusal =
        add === undefined ? 'a graph input is normed' : refusalOf(norm, add, index, shapeOf, replacements);
      if (add !== undefined && refusal === undefined) {
        const fused = fusedNode(add, norm);
        // In the Add's place, because others may read the sum before the norm does.
        replacements.set(add, [fused]);
        replacements.set(norm, []);
        report.push({ ...where, applied: true, reason: 'one operator in place of two', nodes: [fused.name] });
      } else report.push({ ...where, applied: false, reason: refusal ?? '' });
    }
    return { graph: replaceNodes(graph, replacements), report };
  },
};

function fusedNode(add: Node, norm: Node): Node {
  return {
    name: `${norm.name}.skip`,
    opType: 'SkipSimplifiedLayerNormalization',
    domain: CONTRIB_DOMAIN,
    inputs: [...add.inputs, norm.inputs[1]],
    outputs: [norm.outputs[0], '', '', add.outputs[0]],
    attributes: { epsilon: norm.attributes.epsilon ?? attr.float(DEFAULT_EPSILON) },
  };
}

/** What SimplifiedLayerNormalization takes when nothing is said; the fused operator's own default differs. */
const DEFAULT_EPSILON = 1e-5;

function refusalOf(
  norm: Node,
  add: Node,
  index: GraphIndex,
  shapeOf: ShapeOf,
  replacements: ReadonlyMap<Node, readonly Node[]>,
): string | undefined {
  if (add.opType !== 'Add') return `${add.opType} is normed, wanted Add`;
  if (replacements.has(add)) return 'the sum is normed a second time';
  const [a, b] = add.inputs;
  const constant = add.inputs.find((input) => index.initializers.has(input));
  if (constant !== undefined) return `Add broadcasts ${constant}`;
  if (!sameShape(shapeOf(a), shapeOf(b))) return `${a} and ${b} are not known to have one shape`;
  const rank = shapeOf(a)?.length ?? 0;
  if (rank !== 2 && rank !== 3) return `${a} has ${rank} dimensions, wanted 2 or 3`;
  const axis = norm.attributes.axis;
  if (axis?.kind === 'int' && axis.value !== -1 && axis.value !== rank - 1)
    return `the norm is over axis ${axis.value}`;
  if (!index.initializers.has(norm.inputs[1])) return `the norm's weight ${norm.inputs[1]} is computed`;
  return norm.outputs.length > 1 ? 'the norm has more than one output' : undefined;
}
