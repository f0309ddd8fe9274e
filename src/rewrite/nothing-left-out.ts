/** A sparse graph with its thresholds moved out of the way: what it computes with the same weights and nothing left out. */
import { type Graph, LACUNA_DOMAIN, type Node } from '../core/graph.ts';
import { actionsOf, type BlockPlan, isReplaced, type Plan } from '../core/plan.ts';
import { float32Tensor } from '../core/tensor.ts';
import { choosesNeurons, inputOf, operatorOf } from '../ops/index.ts';
import { REPAIR_THRESHOLD } from './repair.ts';

/** What a plan does that a threshold decides; a block that is replaced for every token has none. */
const BY_THRESHOLD: readonly string[] = ['choice', 'skip', 'repair'];

function isByThreshold(block: BlockPlan): boolean {
  if (isReplaced(block)) return false;
  return actionsOf(block).every((action) => BY_THRESHOLD.includes(action));
}

/** Every score reaches 0, no cosine 2, and every expected error more than the lowest number. */
const CHOOSES_ALL = 0;
const NEVER_SATURATED = 2;
const ALWAYS_FAR = -3e38;

/**
 * The graph that `plan` made, with no neuron and no block left out, for measuring what rounding alone costs; undefined
 * where no threshold decides, where one is no tensor of the model, and where operators are of another version.
 */
export function withNothingLeftOut(graph: Graph, { blocks }: Pick<Plan, 'blocks'>): Graph | undefined {
  if (!blocks.every(isByThreshold)) return undefined;
  const values = new Map<string, number>();
  const chosen = new Set(blocks.flatMap(({ block, choice }) => (choice === undefined ? [] : [block])));
  for (const node of graph.nodes) {
    // What the model was trained to leave out stays out.
    if (choosesNeurons(node) && !chosen.has(node.name.replace(/\.gated$/, ''))) continue;
    if (node.domain === LACUNA_DOMAIN && operatorOf(node) === undefined) return undefined;
    const found = thresholdOf(node);
    if (found === undefined) continue;
    if (found.name === undefined) return undefined;
    values.set(found.name, found.value);
  }
  const initializers = graph.initializers.map((initializer) => {
    const value = initializer.name.endsWith(REPAIR_THRESHOLD) ? ALWAYS_FAR : values.get(initializer.name);
    return value === undefined ? initializer : { ...initializer, data: float32Tensor([value], initializer.data.shape) };
  });
  return { ...graph, initializers };
}

/** Of a node that decides what is left out. */
function thresholdOf(node: Node): { readonly name: string | undefined; readonly value: number } | undefined {
  if (choosesNeurons(node)) return { name: inputOf('GatedFFN', node, 'threshold') || undefined, value: CHOOSES_ALL };
  if (operatorOf(node) !== 'FFNSkipStep') return undefined;
  return { name: inputOf('FFNSkipStep', node, 'threshold') || undefined, value: NEVER_SATURATED };
}
