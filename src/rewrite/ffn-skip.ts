/** FFN-SkipLLM's rule in the graph: a state that goes from one skippable block to the next. */
import { LacunaError } from '../core/errors.ts';
import type { Graph, Node } from '../core/graph.ts';
import { type BlockPlan, layerOfBlock, type Plan } from '../core/plan.ts';
import { float32Tensor } from '../core/tensor.ts';
import { Bodies, ffnSkipStartBody, ffnSkipStartNode, ffnSkipStepBody, ffnSkipStepNode } from '../ops/index.ts';
import { gatedBlock, withBlocks } from './gated-block.ts';
import { indexGraph, replaceNodes } from './graph-index.ts';
import type { FfnMatch } from './match-ffn.ts';
import type { Pass, PassResult } from './pass.ts';
import type { PlanContext } from './plan-context.ts';
import { findBlock, reportOf } from './sparse-ffn.ts';

const POSITION_IDS = 'position_ids';

/**
 * Before: ffn_out = down(act(gate x) * up x) in blocks a < b < ... < z
 * After:  state, layers.a.active = FFNSkipStart(position_ids)
 *         ffn_out, layers.a.saturation = GatedFFN(..., layers.a.active, residual)
 *         state, layers.b.active = FFNSkipStep(state, layers.a.saturation, threshold), and so on; none after z
 *
 * with the norm before as `sparse-ffn` has it: then `residual` is what the block makes itself.
 *
 * Concerns blocks that the plan may skip, with or without a choice. Refuses a block where `matchFfn` does, and all
 * of them where no node makes position_ids.
 */
export const ffnSkip: Pass<PlanContext> = {
  name: 'ffn-skip',
  description: 'gate, up, activation, Mul, down -> GatedFFN under a mask, FFNSkipStart and FFNSkipStep between them',
  apply(graph, context) {
    const wanted = context.plan.blocks.filter((block): block is SkipBlock => block.skip !== undefined);
    const index = indexGraph(graph);
    const positions = index.producer(POSITION_IDS);
    if (wanted.length === 0) return { graph, report: [] };
    if (positions === undefined) return refuseAll(graph, wanted);
    const found = wanted.map((block) => ({ block, match: findBlock(index, context, block) }));
    const report = found.map(({ block, match }) => reportOf(ffnSkip.name, block, match));
    const candidates = found.flatMap(({ block, match }) => (match.kind === 'match' ? [{ block, match }] : []));
    if (candidates.length === 0) return { graph, report };
    return { graph: withSkipping(graph, context, positions, candidates), report };
  },
};

type SkipBlock = BlockPlan & { readonly skip: NonNullable<BlockPlan['skip']> };

interface Candidate {
  readonly block: SkipBlock;
  readonly match: FfnMatch;
}

function refuseAll(graph: Graph, blocks: readonly SkipBlock[]): PassResult {
  const reason = `no node makes ${POSITION_IDS}`;
  return { graph, report: blocks.map(({ block }) => ({ rule: ffnSkip.name, block, applied: false, reason })) };
}

function withSkipping(graph: Graph, context: PlanContext, positions: Node, candidates: readonly Candidate[]): Graph {
  const { plan } = context;
  const skipping = skippingOf(plan);
  const bodies = new Bodies(graph.functions);
  const blocks = candidates.map(({ block, match }) => gatedBlock(context, bodies, block, match, names(block).active));
  const replaced = withBlocks(graph, bodies, blocks);
  const steps = candidates
    .slice(0, -1)
    .map(({ block }, index) => stepAfter(block, candidates[index + 1].block, skipping, bodies));
  const start = startBefore(candidates[0].block, skipping, plan.prefill === 'dense', bodies);
  const withState = replaceNodes(
    replaced,
    new Map([
      [positions, [positions, start]],
      ...steps.map(({ node }, index): [Node, Node[]] => [blocks[index].node, [blocks[index].node, node]]),
    ]),
  );
  const thresholds = steps.map(({ threshold }) => threshold);
  return { ...withState, initializers: [...withState.initializers, ...thresholds], functions: bodies.functions };
}

type Skipping = NonNullable<Plan['skipping']>;

function skippingOf({ skipping }: Plan): Skipping {
  if (skipping !== null) return skipping;
  throw new LacunaError('mismatch', 'The plan skips blocks, but says nothing of warm-up and re-arming', {
    hint: 'Give the plan "skipping": {"warmUpTokens": ..., "reArm": ...}, or make it again.',
  });
}

function names({ block }: BlockPlan) {
  const prefix = `layers.${layerOfBlock(block)}`;
  return { state: `${prefix}.skip_state`, active: `${prefix}.active`, saturation: `${prefix}.saturation` };
}

function startBefore(block: BlockPlan, { warmUpTokens }: Skipping, densePrefill: boolean, bodies: Bodies): Node {
  const { state, active } = names(block);
  return ffnSkipStartNode({
    node: 'ffn_skip.start',
    opType: bodies.opTypeOf(ffnSkipStartBody(densePrefill)),
    densePrefill,
    warmUpTokens,
    inputs: { position_ids: POSITION_IDS },
    outputs: { state, active },
  });
}

/** The step that tests `block` and decides about `next`. */
function stepAfter(block: SkipBlock, next: BlockPlan, { reArm }: Skipping, bodies: Bodies) {
  const threshold = { name: `${block.block}.skip_threshold`, data: float32Tensor([block.skip.threshold], []) };
  const { state, saturation } = names(block);
  const after = names(next);
  const node = ffnSkipStepNode({
    node: `${block.block}.skip_step`,
    opType: bodies.opTypeOf(ffnSkipStepBody(reArm)),
    runLength: block.skip.runLength,
    reArm,
    inputs: { state, saturation, threshold: threshold.name },
    outputs: { next_state: after.state, next_active: after.active },
  });
  return { node, threshold };
}
