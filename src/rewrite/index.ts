/** Rewriting: graphs to graphs that say the same, or what a plan wants them to. */
import type { Graph } from '../core/graph.ts';
import type { Plan, PlanTensors } from '../core/plan.ts';
import { dropUnread } from './drop-unread.ts';
import { ffnSkip } from './ffn-skip.ts';
import { fuseParts } from './fuse-parts.ts';
import { fuseSkipNorm } from './fuse-skip-norm.ts';
import { withCounts } from './gated-block.ts';
import { withNothingLeftOut } from './nothing-left-out.ts';
import type { Pass, PassResult, RuleReport } from './pass.ts';
import { checkBlocks, type PlanContext } from './plan-context.ts';
import { repair } from './repair.ts';
import { sparkAttention } from './spark-attention.ts';
import { sparseFfn } from './sparse-ffn.ts';
import { withSparsePrefill } from './sparse-prefill.ts';
import type { RoundedTurnables } from './stored-weight.ts';
import { trainedCut } from './trained-cut.ts';

export type { RoundedTurnables, RuleReport };
export { withCounts, withNothingLeftOut, withSparsePrefill };

/** The passes that carry out a plan, in the order in which they run. */
const PLAN_PASSES: readonly Pass<PlanContext>[] = [sparseFfn, ffnSkip, repair];

/** Every pass in order, as `before -> after`. */
export const PASSES = [fuseSkipNorm, ...PLAN_PASSES, trainedCut, sparkAttention, fuseParts, dropUnread].map(
  ({ name, description }) => ({
    name,
    description,
  }),
);

/**
 * Residual additions and the norms after them as one operator; equal results, fewer operators.
 *
 * @example const dense = fuseSkipNorms(assemble(openModel(checkpoint, { precision: 'fp32' })));
 */
export function fuseSkipNorms(graph: Graph): Graph {
  return fuseSkipNorm.apply(graph, undefined).graph;
}

/**
 * FFNs that were trained to be sparse as operators that read few of their rows, and attention that was trained to attend to
 * few tokens as one that reads little of the others. Attention, FFN and head of a decoder whose
 * weights are in blocks as one operator each, the same graph to a runtime without kernels, and no nodes that nothing reads.
 * The last that is done to a graph: plans find their blocks before it. `rounded` as for `applyPlan`.
 *
 * @example const fused = fuseDecoderParts(fuseSkipNorms(assemble(openModel(checkpoint, { precision: 'int4' }))));
 */
export function fuseDecoderParts(graph: Graph, rounded: RoundedTurnables = new Map()): Graph {
  const cut = withSparkAttention(trainedCut.apply(graph, { rounded }).graph);
  const fused = fuseParts.apply(cut, undefined).graph;
  // Folders of floats may still be made sparse, for which positions are wanted.
  return fused === cut ? cut : dropUnread.apply(fused, undefined).graph;
}

/** Sums and norms after it can be fused where its nodes hid that what is added has the stream's shape. */
function withSparkAttention(graph: Graph): Graph {
  const replaced = sparkAttention.apply(graph, undefined).graph;
  return replaced === graph ? graph : fuseSkipNorms(replaced);
}

/**
 * The sparse graph that a plan asks for, and what each rule did with each block; blocks that no rule could rewrite stay
 * dense, with the reason. `rounded` has turnable weights that were rounded by texts; others are rounded when they are
 * written. Throws `mismatch` when plan, tensors and graph do not belong together.
 *
 * @example const { graph, report } = applyPlan(dense, plan, tensors);
 */
export function applyPlan(
  graph: Graph,
  plan: Plan,
  tensors: PlanTensors,
  rounded: RoundedTurnables = new Map(),
): PassResult {
  const context = { plan, prefill: plan.prefill, tensors, rounded };
  checkBlocks(context, graph);
  return PLAN_PASSES.reduce<PassResult>(
    (before, pass) => {
      const after = pass.apply(before.graph, context);
      return { graph: after.graph, report: [...before.report, ...after.report] };
    },
    { graph, report: [] },
  );
}
