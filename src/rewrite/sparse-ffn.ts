/** Gives blocks that a plan selects neurons for one GatedFFN operator. */
import { measureNamed } from '../core/choice.ts';
import { type BlockPlan, layerOfBlock } from '../core/plan.ts';
import { Bodies } from '../ops/index.ts';
import { type Asked, gatedBlock, hasRecords, withBlocks } from './gated-block.ts';
import { type GraphIndex, indexGraph } from './graph-index.ts';
import { type FfnMatch, matchFfn } from './match-ffn.ts';
import type { Pass, RuleReport } from './pass.ts';
import type { Refusal } from './pattern.ts';
import { type BlockContext, checkSize, type PlanContext } from './plan-context.ts';
import { turnableWeight } from './stored-weight.ts';

/**
 * Before: ffn_out = down(act(gate x) * up x), node by node
 * After:  ffn_out = GatedFFN(x, weights neuron by neuron, ..., threshold, weights of the score)
 *
 * Before: x, residual = norm(added + skip), and then the same, where the FFN alone reads x
 * After:  ffn_out, residual = GatedFFN(added, skip, weight of the norm, ...)
 *
 * Concerns blocks with a choice that are never skipped. Refuses where `matchFfn` does.
 */
export const sparseFfn: Pass<PlanContext> = {
  name: 'sparse-ffn',
  description: 'gate, up, activation, Mul, down -> GatedFFN with the plan’s choice',
  apply(graph, context) {
    const index = indexGraph(graph);
    const bodies = new Bodies(graph.functions);
    const wanted = context.plan.blocks.filter((block) => block.choice !== undefined && block.skip === undefined);
    const found = wanted.map((block) => ({ block, match: findBlock(index, context, block) }));
    const blocks = found.flatMap(({ block, match }) =>
      match.kind === 'match' ? [gatedBlock(context, bodies, block, match)] : [],
    );
    return {
      graph: blocks.length === 0 ? graph : withBlocks(graph, bodies, blocks),
      report: found.map(({ block, match }) => reportOf(sparseFfn.name, block, match)),
    };
  },
};

/** The block's FFN, or why it cannot be replaced; throws `mismatch` when it is another model's. */
export function findBlock(index: GraphIndex, context: PlanContext, block: BlockPlan): FfnMatch | Refusal {
  const cut = block.choice?.cut;
  if (cut?.kind === 'deviation' && !(cut.density > 0 && cut.density < 1))
    return { kind: 'refused', reason: `a density of ${cut.density} has no finite quantile` };
  const match = matchFfn(index, layerOfBlock(block.block));
  if (match.kind === 'refused') return match;
  checkSize(context, block, match);
  // Of those that zeros leave, a plan may leave out more.
  if (block.choice !== undefined && match.trained !== undefined && match.trained.by !== 'zeros')
    return {
      kind: 'refused',
      reason: 'the model was trained to choose this block’s neurons, and is not chosen from again',
    };
  const storage = match.gate.weight.scales === undefined ? 'floats' : 'blocks';
  if (block.choice !== undefined && !measureNamed(block.choice.measure).plannedFor.includes(storage))
    return { kind: 'refused', reason: `measure ${block.choice.measure} is not for weights in ${storage}` };
  return withKnownRecords(block, match, context) ?? match;
}

/** Refuses a block whose records cannot be made. */
export function withKnownRecords(block: Asked, match: FfnMatch, { rounded }: BlockContext): Refusal | undefined {
  if (!hasRecords(block, match) || turnableWeight(match.down.weight, rounded) !== undefined) return undefined;
  return { kind: 'refused', reason: `the floats that ${match.down.weight.data.name} was rounded from are not known` };
}

export function reportOf(rule: string, { block }: Pick<BlockPlan, 'block'>, match: FfnMatch | Refusal): RuleReport {
  if (match.kind === 'refused') return { rule, block, applied: false, reason: match.reason };
  const reason = `one operator in place of ${match.nodes.length}`;
  return { rule, block, applied: true, reason, nodes: [`layers.${layerOfBlock(block)}.ffn.gated`] };
}
