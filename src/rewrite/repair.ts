/** Puts an affine map of low rank in a block's place: for all tokens, or for those whose input is near what it was fitted to. */
import { attr, type Node } from '../core/graph.ts';
import { GraphBuilder, value } from '../core/graph-builder.ts';
import { type BlockPlan, layerOfBlock } from '../core/plan.ts';
import { cast, float32Tensor } from '../core/tensor.ts';
import { Bodies, ffnSkipStartBody, ffnSkipStartNode, type Storage } from '../ops/index.ts';
import { type GatedBlock, gatedBlock, withBlocks } from './gated-block.ts';
import { indexGraph, replaceNodes } from './graph-index.ts';
import { type FfnMatch, matchFfn } from './match-ffn.ts';
import type { Pass } from './pass.ts';
import type { Refusal } from './pattern.ts';
import { checkSize, type PlanContext, planTensor } from './plan-context.ts';
import { storedProduct } from './stored-product.ts';

const POSITION_IDS = 'position_ids';

/** int32 [b, s], below 0 where nothing is left out: FFN skipping's state before its first block. */
const STATE = 'repair.state';
const NEVER = 'repair.never';

/**
 * Before: ffn_out = down(act(gate x) * up x)
 * After:  ffn_out = expand (reduce x) + offset; layers.<i>.active = false
 *
 * or, where a gate decides by each token's input:
 *
 *         layers.<i>.active = slope x + curvature |x|^2 + intercept > threshold
 *         ffn_out = active ? GatedFFN(x, ..., active) : expand (reduce x) + offset
 *
 * Within warm-up, and in calls of several tokens where the plan's prefill is dense, all tokens of gated blocks are active.
 * The matrices are stored as the block's own weights; the norm that makes x stays. Refuses a block where `matchFfn` does,
 * all where no node makes position_ids, and blocks without a gate where a prefill is to be dense.
 */
export const repair: Pass<PlanContext> = {
  name: 'repair',
  description: 'gate, up, activation, Mul, down -> a product of low rank, or that beside GatedFFN under a mask',
  apply(graph, context) {
    const wanted = context.plan.blocks.filter((block): block is RepairedBlock => block.repair !== undefined);
    if (wanted.length === 0) return { graph, report: [] };
    const index = indexGraph(graph);
    const positions = index.producer(POSITION_IDS);
    const find = (block: RepairedBlock): FfnMatch | Refusal => {
      if (positions === undefined) return { kind: 'refused', reason: `no node makes ${POSITION_IDS}` };
      const match = matchFfn(index, layerOfBlock(block.block), true);
      if (match.kind === 'refused') return match;
      checkSize(context, block, match);
      if (block.repair.gate === undefined && isHeldBack(context))
        return {
          kind: 'refused',
          reason: 'a block that is replaced for every token cannot run in a dense prefill or warm-up',
        };
      return match;
    };
    const found = wanted.map((block) => ({ block, match: find(block) }));
    const bodies = new Bodies(graph.functions);
    const blocks = found.flatMap(({ block, match }) =>
      match.kind === 'match' ? [repairedBlock(context, bodies, block, match)] : [],
    );
    const report = found.map(({ block: { block, repair }, match }) => {
      if (match.kind === 'refused') return { rule: 'repair', block, applied: false, reason: match.reason };
      const reason = `an affine map of rank ${repair.rank} in place of ${match.nodes.length} operators`;
      return { rule: 'repair', block, applied: true, reason: repair.gate ? `${reason}, or beside them` : reason };
    });
    if (positions === undefined || blocks.length === 0) return { graph, report };
    const isGated = wanted.some(({ repair }) => repair.gate !== undefined);
    const start = isGated && isHeldBack(context) ? startNodes(context, bodies) : [];
    const replaced = withBlocks(graph, bodies, blocks);
    return { graph: replaceNodes(replaced, new Map([[positions, [positions, ...start]]])), report };
  },
};

type RepairedBlock = BlockPlan & { readonly repair: NonNullable<BlockPlan['repair']> };

/** Whether some tokens run all blocks, whatever their gates say. */
function isHeldBack({ plan }: PlanContext): boolean {
  return plan.prefill === 'dense' || (plan.skipping?.warmUpTokens ?? 0) > 0;
}

/** `repair.never`, bool [b, s]: tokens that run all blocks. */
function startNodes({ plan }: PlanContext, bodies: Bodies): readonly Node[] {
  const densePrefill = plan.prefill === 'dense';
  const g = new GraphBuilder('repair');
  const start = ffnSkipStartNode({
    node: 'repair.start',
    opType: bodies.opTypeOf(ffnSkipStartBody(densePrefill)),
    densePrefill,
    warmUpTokens: plan.skipping?.warmUpTokens ?? 0,
    inputs: { position_ids: POSITION_IDS },
    // Nobody reads the second: no token has begun to skip. ONNX Runtime wants calls of a function to have all of its outputs.
    outputs: { state: STATE, active: 'repair.armed' },
  });
  g.op('Less', [STATE, g.int32Scalar(0)], { outputs: [NEVER] });
  return [start, ...g.nodes];
}

function repairedBlock(context: PlanContext, bodies: Bodies, block: RepairedBlock, match: FfnMatch): GatedBlock {
  const { gate } = block.repair;
  const part = partOf(context, block, match);
  const active = `${part.prefix}.active`;
  if (gate === undefined) {
    mapped(part, match.output);
    part.g.op('Less', [POSITION_IDS, part.g.int64Scalar(0)], { outputs: [active] });
    return made(part, []);
  }
  decide(part, gate, active, isHeldBack(context));
  const run = `${part.g.scope}.run`;
  const gated = gatedBlock(context, bodies, block, { ...match, output: run }, active);
  part.g.nodes.push(...gated.nodes);
  const near = mapped(part, part.g.fresh('mapped'));
  part.g.op('Where', [part.g.op('Unsqueeze', [active, part.g.int64(-1)]), run, near], { outputs: [match.output] });
  return made(part, gated.initializers);
}

/** A block's own builder, and what it is built from. */
interface RepairedPart {
  readonly g: GraphBuilder;
  readonly prefix: string;
  readonly block: RepairedBlock;
  readonly match: FfnMatch;
  readonly storage: Storage;
  readonly hidden: number;
  /** A tensor of the plan. */
  readonly tensor: (name: string, ...shape: readonly number[]) => Float32Array;
}

function partOf(context: PlanContext, block: RepairedBlock, match: FfnMatch): RepairedPart {
  const prefix = `layers.${layerOfBlock(block.block)}`;
  const { storage, shape } = match.gate.weight;
  return {
    g: new GraphBuilder(`${prefix}.ffn.repair`),
    prefix,
    block,
    match,
    storage,
    hidden: shape[1],
    tensor: (name, ...wanted) => planTensor(context, block.block, name, wanted),
  };
}

/** expand (reduce x) + offset */
function mapped({ g, block: { repair }, match, storage, hidden, tensor }: RepairedPart, output: string): string {
  const { rank, tensors } = repair;
  const product = (x: string, name: string, data: Float32Array, shape: readonly [number, number]) =>
    storedProduct(g, x, { name: `${g.scope}.${name}`, data, shape }, storage);
  const inner = product(match.x, 'reduce', tensor(tensors.reduce, rank, hidden), [rank, hidden]);
  const outer = product(inner, 'expand', tensor(tensors.expand, hidden, rank), [hidden, rank]);
  const offset = float32Tensor(tensor(tensors.offset, hidden));
  const added = g.initializer(`${g.scope}.offset`, storage === 'fp16' ? cast(offset, 'float16') : offset);
  return g.op('Add', [outer, added], { outputs: [output] });
}

/**
 * active = (slope + curvature x) x + intercept > threshold, or where nothing is left out. In float32, whatever the
 * storage: a vector more is nothing beside the matrices.
 */
function decide(part: RepairedPart, gate: Gate, active: string, isHeld: boolean): void {
  const { g, prefix, block, match, storage, hidden, tensor } = part;
  const x = storage === 'fp16' ? g.cast(match.x, 'float32') : match.x;
  const slope = g.initializer(`${g.scope}.slope`, float32Tensor(tensor(gate.tensors.slope, hidden)));
  const terms = g.op('Mul', [g.op('Add', [g.op('Mul', [x, g.float(gate.curvature)]), slope]), x]);
  const error = g.op('ReduceSum', [terms, g.int64(-1)], {
    attributes: { keepdims: attr.int(0) },
    outputs: [`${prefix}.expected_error`],
  });
  const threshold = float32Tensor([gate.threshold - gate.intercept], []);
  const limit = g.initializer(`${block.block}${REPAIR_THRESHOLD}`, threshold);
  const far = g.op('Greater', [error, limit], isHeld ? {} : { outputs: [active] });
  if (isHeld) g.op('Or', [far, NEVER], { outputs: [active] });
}

type Gate = NonNullable<RepairedBlock['repair']['gate']>;

/** What names of gates' thresholds, tensors of the model, end with. */
export const REPAIR_THRESHOLD = '.repair_threshold';

function made({ g, match, storage, hidden }: RepairedPart, others: GatedBlock['initializers']): GatedBlock {
  const stream = ['batch_size', 'sequence_length', hidden];
  return {
    match,
    node: g.nodes[0],
    nodes: g.nodes,
    values: [value(match.output, storage === 'fp16' ? 'float16' : 'float32', stream)],
    initializers: [...g.initializers, ...others],
  };
}
