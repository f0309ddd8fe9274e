/** A matched FFN as one GatedFFN node: the edit that the plan's passes share. */
import type { Graph, Initializer, Node, OpFunction } from '../core/graph.ts';
import { LACUNA_DOMAIN } from '../core/graph.ts';
import { type BlockPlan, layerOfBlock } from '../core/plan.ts';
import { float32Tensor } from '../core/tensor.ts';
import {
  GATHER_SHARE,
  type GatedFfnVariant,
  gatedFfnFunction,
  gatedFfnNode,
  type SelectorChoice,
} from '../ops/index.ts';
import { dropUnusedInitializers, replaceNodes } from './graph-index.ts';
import type { FfnMatch } from './match-ffn.ts';
import { normalQuantile } from './normal-quantile.ts';
import { type PlanContext, scoreWeights } from './plan-context.ts';
import type { StoredWeight } from './stored-weight.ts';

export interface GatedBlock {
  readonly match: FfnMatch;
  readonly node: Node;
  readonly initializers: readonly Initializer[];
  readonly function: OpFunction;
}

/** The node for a block's FFN. A block that skips reads its mask from `active` and gives its saturation. */
export function gatedBlock(context: PlanContext, block: BlockPlan, match: FfnMatch, active?: string): GatedBlock {
  const variant = variantOf(context, block, match, active !== undefined);
  const prefix = `layers.${layerOfBlock(block.block)}`;
  const weights = weightInputs(match);
  const selected = selectorInputs(context, block, match);
  const node = gatedFfnNode(variant, {
    node: `${prefix}.ffn.gated`,
    inputs: {
      x: match.x,
      ...weights.inputs,
      gate_bias: match.gate.bias,
      up_bias: match.up.bias,
      down_bias: match.down.bias,
      post_norm: match.postNorm?.weight,
      ...(active !== undefined && { active, residual: match.residual }),
      ...Object.fromEntries(Object.entries(selected).map(([input, { name }]) => [input, name])),
    },
    outputs: {
      y: match.output,
      ...(variant.masked && { saturation: `${prefix}.saturation` }),
      ...(variant.selector.kind !== 'none' && { kept: `${prefix}.kept` }),
    },
    quantile: block.select?.kind === 'statistical' ? normalQuantile(1 - block.select.density) : undefined,
    epsilon: match.postNorm?.epsilon,
    sizes: { hidden: match.gate.weight.shape[1], neurons: match.gate.weight.shape[0] },
  });
  const initializers = [...weights.made, ...Object.values(selected)];
  return { match, node, initializers, function: gatedFfnFunction(variant) };
}

/** Names of the weights by input, and the tensors made for them. Those in blocks keep `down` for the body as it was. */
function weightInputs({ gate, up, down, turnedDown }: FfnMatch) {
  const [turned, turnedScales] = turnedDown;
  const scales = ({ weight }: { weight: StoredWeight }) => weight.scales?.name;
  const inputs = {
    gate: gate.weight.data.name,
    up: up.weight.data.name,
    down: turned.name,
    ...(turnedScales !== undefined && {
      gate_scales: scales(gate),
      up_scales: scales(up),
      down_scales: turnedScales.name,
      down_columns: down.weight.data.name,
      down_columns_scales: scales(down),
    }),
  };
  return { inputs, made: turnedDown };
}

function variantOf({ plan }: PlanContext, block: BlockPlan, match: FfnMatch, masked: boolean): GatedFfnVariant {
  const { select } = block;
  return {
    selector: choiceOf(select),
    storage: match.gate.weight.storage,
    masked,
    // A block without a selector leaves out nothing but masked tokens, and FFNSkipStart masks none in dense prefill.
    decode: plan.prefill === 'dense' && select !== undefined,
    gather: expectedDensity(block) < GATHER_SHARE,
    activation: match.activation,
    gateBias: match.gate.bias !== undefined,
    upBias: match.up.bias !== undefined,
    downBias: match.down.bias !== undefined,
    postNorm: match.postNorm !== undefined,
  };
}

/** Share of neurons that a block is planned to choose; 0 where the plan does not say, so that few may be gathered. */
function expectedDensity({ select, expected }: BlockPlan): number {
  return (select?.kind === 'statistical' ? select.density : expected.density) ?? 0;
}

function choiceOf(select: BlockPlan['select']): SelectorChoice {
  switch (select?.kind) {
    case undefined:
      return { kind: 'none' };
    case 'threshold':
      return { kind: 'threshold', scale: select.scale };
    case 'statistical':
      return { kind: 'statistical', mode: select.mode };
  }
}

/** Initializers by the input that they feed: thresholds are tensors, so that they can be changed without a rewrite. */
function selectorInputs(
  context: PlanContext,
  { block, select }: BlockPlan,
  { gate }: FfnMatch,
): Record<string, Initializer> {
  if (select?.kind !== 'threshold') return {};
  const weights = scoreWeights(context, block, select.weights, gate.weight.shape[0]);
  return {
    threshold: { name: `${block}.threshold`, data: float32Tensor([select.threshold], []) },
    weights: { name: `${block}.score_weights`, data: float32Tensor(weights) },
  };
}

/** Puts each block's node in the place of what it matched; bodies and weights come with it, unused weights go. */
export function withBlocks(graph: Graph, blocks: readonly GatedBlock[]): Graph {
  const replacements = new Map<Node, readonly Node[]>();
  for (const { match, node } of blocks) {
    for (const matched of match.nodes) replacements.set(matched, []);
    replacements.set(match.nodes[0], [node]);
  }
  const replaced = replaceNodes(graph, replacements);
  return dropUnusedInitializers({
    ...replaced,
    initializers: [...replaced.initializers, ...blocks.flatMap((block) => block.initializers)],
    functions: uniqueByName([...replaced.functions, ...blocks.map((block) => block.function)]),
    opsets: { ...replaced.opsets, [LACUNA_DOMAIN]: 1 },
  });
}

/** One body a name: op types tell apart all bodies that one model can hold. */
function uniqueByName(functions: readonly OpFunction[]): OpFunction[] {
  return [...new Map(functions.map((one) => [one.name, one])).values()];
}
