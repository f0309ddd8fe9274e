/** What the passes that carry out a plan know beside the graph. */
import { LacunaError } from '../core/errors.ts';
import type { Graph } from '../core/graph.ts';
import { type BlockPlan, layerOfBlock, type Plan, type PlanTensors, placeOfBlock } from '../core/plan.ts';
import type { FfnMatch } from './match-ffn.ts';
import type { RoundedTurnables } from './stored-weight.ts';

/** What decides a block's node beside the block. */
export interface BlockContext {
  readonly prefill: Plan['prefill'];
  readonly tensors: PlanTensors;
  /** `down` of blocks whose neurons are chosen, where it was rounded by texts. */
  readonly rounded: RoundedTurnables;
}

export interface PlanContext extends BlockContext {
  readonly plan: Plan;
}

/** Throws `mismatch` where a plan speaks of layers that the graph does not have, or not in their order. */
export function checkBlocks({ plan }: PlanContext, graph: Graph): void {
  let previous: string | undefined;
  for (const { block } of plan.blocks) {
    const layer = layerOfBlock(block);
    const isMade = graph.nodes.some(({ outputs }) => outputs.some((output) => output.startsWith(`layers.${layer}.`)));
    if (!isMade || layer >= plan.model.numHiddenLayers)
      throw wrongModel(`The plan's block ${block} is not in the model`);
    if (previous !== undefined && placeOfBlock(block) <= placeOfBlock(previous))
      throw badPlan(`The plan lists ${block} after ${previous}, wanted the order of layers`);
    previous = block;
  }
}

/** Throws `mismatch` where the FFN found has not the size that the plan was made for. */
export function checkSize({ plan }: PlanContext, { block }: BlockPlan, { gate, hidden }: FfnMatch): void {
  const { hiddenSize, intermediateSize } = plan.model;
  const [neurons] = gate.weight.shape;
  if (neurons === intermediateSize && hidden === hiddenSize) return;
  throw wrongModel(
    `${block} has a gate of [${neurons}, ${hidden}], the plan wants [${intermediateSize}, ${hiddenSize}]`,
  );
}

function wrongModel(message: string): LacunaError {
  return new LacunaError('mismatch', message, {
    hint: 'Give the checkpoint that the plan was made for, or calibrate and plan on this one.',
  });
}

/** A tensor that the plan names for a block, of that shape. */
export function planTensor(
  { tensors }: BlockContext,
  block: string,
  name: string,
  shape: readonly number[],
): Float32Array {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw badPlan(`The plan's ${block} names tensor "${name}", which its file does not have`);
  if (String(tensor.shape) !== String(shape))
    throw badPlan(`The plan's tensor "${name}" is [${tensor.shape}], ${block} wants [${shape}]`);
  return tensor.data;
}

/** The score weights that a choice names, as long as the block has neurons. */
export function scoreWeights(context: BlockContext, block: string, name: string, neurons: number): Float32Array {
  const weights = planTensor(context, block, name, [neurons]);
  if (!weights.every((weight) => weight >= 0 && weight < Number.POSITIVE_INFINITY))
    throw badPlan(`The plan's tensor "${name}" has negative numbers or none; score weights are 0 or more`);
  return weights;
}

function badPlan(message: string): LacunaError {
  return new LacunaError('mismatch', message, { hint: 'Make the plan again with lacuna plan.' });
}
