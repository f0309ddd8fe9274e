/** A matched FFN as one GatedFFN node: the edit that the plan's passes share. */
import { GATHER_SHARE, measureNamed, type NeuronChoice } from '../core/choice.ts';
import { LacunaError } from '../core/errors.ts';
import {
  type Graph,
  type Initializer,
  LACUNA_DOMAIN,
  type Node,
  oneOfEachName,
  type ValueInfo,
} from '../core/graph.ts';
import { GraphBuilder, value } from '../core/graph-builder.ts';
import { normalQuantile, normalShare } from '../core/normal-quantile.ts';
import { type BlockPlan, type Choice, layerOfBlock, neuronChoice } from '../core/plan.ts';
import { precisionNamed } from '../core/precision.ts';
import {
  cast,
  concatRows,
  float32Tensor,
  quantize,
  stackQuantized,
  type TurnableMatrix,
  transpose,
} from '../core/tensor.ts';
import { contractOf } from '../ops/contract.ts';
import {
  Bodies,
  choosesNeurons,
  countOf,
  type GatedFfnVariant,
  gatedFfnBody,
  gatedFfnNode,
  neuronRecords,
  operatorOf,
  recordedBy,
  variantOfNode,
} from '../ops/index.ts';
import { dropUnusedInitializers, replaceNodes } from './graph-index.ts';
import type { FfnMatch } from './match-ffn.ts';
import { type BlockContext, scoreWeights } from './plan-context.ts';
import { countedAttention } from './spark-attention.ts';
import { type StoredWeight, turnableWeight } from './stored-weight.ts';

export interface GatedBlock {
  readonly match: FfnMatch;
  readonly node: Node;
  /** The node, and the casts around it where the graph is in float16. */
  readonly nodes: readonly Node[];
  /** The stream's values that the node makes. */
  readonly values: readonly ValueInfo[];
  readonly initializers: readonly Initializer[];
}

/** What nodes' names end with; before it is their layer. */
const GATED = '.ffn.gated';

/**
 * The graph with its blocks counting what they choose: `layers.<i>.kept`, int32 [b, s], neurons, and `layers.<i>.attended_keys`,
 * keys of all heads together. This takes operators, so only models to be measured have it. Throws `mismatch` where a node
 * is not named as rewrites name it.
 */
export function withCounts(graph: Graph): Graph {
  const bodies = new Bodies(graph.functions);
  const nodes = graph.nodes.map((node) => {
    if (operatorOf(node) === 'SparkAttention') return countedAttention(graph, node, bodies);
    if (!choosesNeurons(node) || countOf(node) !== undefined) return node;
    if (node.name.endsWith(GATED)) return countedNode(node, `${node.name.slice(0, -GATED.length)}.kept`, bodies);
    throw new LacunaError('mismatch', `What ${node.name} leaves out cannot be counted: it is not named as a layer is`, {
      hint: 'Measure the folder as lacuna sparsify wrote it.',
    });
  });
  return { ...graph, nodes, functions: bodies.functions };
}

/** A calling node as the same call of the body that counts, `kept` naming its count. */
function countedNode(node: Node, kept: string, bodies: Bodies): Node {
  const opType = bodies.opTypeOf(gatedFfnBody({ ...variantOfNode(node), counted: true }));
  const outputs = contractOf('GatedFFN').outputs.map(({ name }, at) =>
    name === 'kept' ? kept : (node.outputs[at] ?? ''),
  );
  return { ...node, opType, outputs: outputs.slice(0, outputs.findLastIndex((name) => name !== '') + 1) };
}

/** What is asked of a block: all of it from a plan, or its name where the model itself says what is left out. */
export type Asked = Pick<BlockPlan, 'block' | 'choice'> & {
  readonly expected?: Pick<BlockPlan['expected'], 'density'>;
};

/** The node for a block's FFN. A block that skips reads its mask from `active` and gives its saturation. */
export function gatedBlock(
  context: BlockContext,
  bodies: Bodies,
  block: Asked,
  match: FfnMatch,
  active?: string,
): GatedBlock {
  const variant = variantOf(context, block, match, active !== undefined);
  const prefix = `layers.${layerOfBlock(block.block)}`;
  const turnable = hasRecords(block, match) ? turnableWeight(match.down.weight, context.rounded) : undefined;
  const weights = weightInputs(prefix, match, recordedBy(variant.choice), turnable);
  const { norm } = match;
  const cut = block.choice?.cut;
  const vectors = vectorInputs(match);
  const chosen = choiceInputs(context, block, match);
  const g = new GraphBuilder(`${prefix}.ffn`);
  // GatedFFN's values are float32: a graph in float16 casts what goes in and what comes out.
  const isNarrow = variant.storage === 'fp16';
  const read = (input: string, from: string) => (isNarrow ? g.cast(from, 'float32', `${g.scope}.${input}`) : from);
  const y = isNarrow ? `${g.scope}.y` : match.output;
  const node = gatedFfnNode(variant, {
    node: `${prefix}${GATED}`,
    opType: bodies.opTypeOf(gatedFfnBody(variant)),
    inputs: {
      ...(norm === undefined ? { x: read('x', match.x) } : { x: norm.added, skip: norm.skip }),
      ...weights.inputs,
      ...namesOf(vectors),
      ...(active !== undefined && { active }),
      ...(active !== undefined && norm === undefined && { residual: read('residual', match.residual) }),
      ...namesOf(chosen),
    },
    outputs: {
      y,
      ...(variant.masked && { saturation: `${prefix}.saturation` }),
      ...(norm !== undefined && { sum: match.residual }),
    },
    quantile: cut?.kind === 'deviation' ? normalQuantile(1 - cut.density) : trainedQuantile(match),
    epsilon: norm?.epsilon,
    postEpsilon: match.postNorm?.epsilon,
    sizes: { hidden: match.hidden, neurons: match.gate.weight.shape[0], gateInputs: match.gateInputs },
  });
  const initializers = [...weights.tensors, ...Object.values(vectors), ...Object.values(chosen)];
  g.nodes.push(node);
  if (isNarrow) g.cast(y, 'float16', match.output);
  const stream = ['batch_size', 'sequence_length', match.hidden];
  const made = norm === undefined ? [y] : [y, match.residual];
  return { match, node, nodes: g.nodes, values: made.map((name) => value(name, 'float32', stream)), initializers };
}

function namesOf(inputs: Readonly<Record<string, Initializer>>): Record<string, string> {
  return Object.fromEntries(Object.entries(inputs).map(([input, { name }]) => [input, name]));
}

/** Biases and norms' weights, which are float32 in any storage. */
function vectorInputs({ gate, up, down, postNorm, norm }: FfnMatch): Record<string, Initializer> {
  const biases = { gate_bias: gate.bias, up_bias: up.bias, down_bias: down.bias };
  const given = { ...biases, post_norm: postNorm?.weight, norm: norm?.weight };
  return Object.fromEntries(
    Object.entries(given).flatMap(([input, vector]) => (vector === undefined ? [] : [[input, inFloat32(vector)]])),
  );
}

function inFloat32(vector: Initializer): Initializer {
  const { name, data } = vector;
  return data.dtype === 'float32' ? vector : { name: `${name}.float32`, data: cast(data, 'float32') };
}

/** Whether kernels read chosen neurons of a block by records, whose `down` has to be stored along both of its axes. */
export function hasRecords(block: Asked, match: FfnMatch): boolean {
  return match.down.weight.scales !== undefined && recordedBy(choiceOf(block, match)).length > 0;
}

/** What a plan asks for, or what the model was trained with. */
function choiceOf({ choice }: Asked, { trained }: FfnMatch): NeuronChoice | undefined {
  if (choice !== undefined) return neuronChoice(choice);
  switch (trained?.by) {
    case 'deviation':
      return { measure: 'gate', cut: 'deviation', mode: 'soft' };
    case 'threshold':
    case 'zeros':
      return { measure: 'activation', cut: 'absolute' };
    case undefined:
      return undefined;
  }
}

function trainedQuantile({ trained }: FfnMatch): number | undefined {
  return trained?.by === 'deviation' ? trained.quantile : undefined;
}

/** Names of the weights by input, and their tensors; `turnable` is the `down` of a block that has records. */
function weightInputs(
  prefix: string,
  { gate, up, down, gateInputs }: FfnMatch,
  recorded: ReturnType<typeof recordedBy>,
  turnable: TurnableMatrix | undefined,
) {
  const scales = [gate, up, down].map(({ weight }) => weight.scales);
  if (!scales.every((one) => one !== undefined)) {
    const made = { name: `${down.weight.data.name}.neuron_major`, data: transpose(down.weight.data.data) };
    const inputs = { gate: gate.weight.data.name, up: up.weight.data.name, down: made.name };
    return { inputs, tensors: [gate.weight.data, up.weight.data, made] };
  }
  const [gateScales, upScales, downScales] = scales;
  const gateParts = { codes: gate.weight.data.data, scales: gateScales.data, zeroPoints: undefined };
  const upParts = { codes: up.weight.data.data, scales: upScales.data, zeroPoints: undefined };
  // Matrices of one input are one matrix.
  const made =
    gateInputs === undefined
      ? stacked(prefix, [gateParts, upParts])
      : { gate: gate.weight.data, gate_scales: gateScales, up: up.weight.data, up_scales: upScales };
  if (turnable === undefined) {
    const inputs = { ...namesOf(made), down: down.weight.data.name, down_scales: downScales.name };
    return { inputs, tensors: Object.values(made) };
  }
  const rows = {
    gate: [gateParts.codes, gateParts.scales],
    up: [upParts.codes, upParts.scales],
    down: [turnable.turned.codes, turnable.turned.scales],
  };
  const chosen = {
    ...made,
    down: { name: `${prefix}.ffn.down`, data: turnable.codes },
    down_scales: { name: `${prefix}.ffn.down.scales`, data: turnable.scales },
    records: { name: `${prefix}.ffn.records`, data: neuronRecords(recorded, gate.weight.shape[0], rows) },
  };
  return { inputs: namesOf(chosen), tensors: Object.values(chosen) };
}

function stacked(prefix: string, matrices: Parameters<typeof stackQuantized>[0]): Record<string, Initializer> {
  const { codes, scales } = stackQuantized(matrices);
  return {
    gate_up: { name: `${prefix}.ffn.gate_up`, data: codes },
    gate_up_scales: { name: `${prefix}.ffn.gate_up.scales`, data: scales },
  };
}

function variantOf({ prefill }: BlockContext, block: Asked, match: FfnMatch, masked: boolean): GatedFfnVariant {
  return {
    choice: choiceOf(block, match),
    storage: match.gate.weight.storage,
    split: match.gateInputs !== undefined,
    masked,
    // A block without a choice of the plan leaves out masked tokens, and FFNSkipStart masks none in dense prefill.
    densePrefill: prefill === 'dense' && block.choice !== undefined,
    gather: expectedDensity(block, match) < GATHER_SHARE,
    normed: match.norm !== undefined,
    counted: false,
    activation: match.activation,
    gateBias: match.gate.bias !== undefined,
    upBias: match.up.bias !== undefined,
    downBias: match.down.bias !== undefined,
    postNorm: match.postNorm !== undefined,
  };
}

/** Share of neurons that a block is planned to choose; 0 where the plan does not say, so that few may be gathered. */
function expectedDensity({ choice, expected }: Asked, match: FfnMatch): number {
  if (choice?.cut.kind === 'deviation') return choice.cut.density;
  const quantile = trainedQuantile(match);
  if (choice === undefined && quantile !== undefined) return 1 - normalShare(quantile);
  return expected?.density ?? 0;
}

/** Initializers by the input that they feed: thresholds are tensors, so that they can be changed without a rewrite. */
function choiceInputs(context: BlockContext, { block, choice }: Asked, match: FfnMatch): Record<string, Initializer> {
  if (choice === undefined) return trainedInputs(block, match);
  if (choice.cut.kind === 'deviation') return {};
  const { gate, up } = match;
  const weights = scoreWeights(context, block, choice.tensors.weights ?? '', gate.weight.shape[0]);
  return {
    threshold: { name: `${block}.threshold`, data: float32Tensor([choice.cut.threshold], []) },
    weights: { name: `${block}.score_weights`, data: float32Tensor(weights) },
    ...predictorInputs(block, choice, gate.weight, up.weight),
  };
}

/**
 * Of activations 0 or positive: a neuron whose activation is below float32's least normal number adds nothing that a sum
 * would show, and processors may take such numbers for 0.
 */
const LEAST_ACTIVATION = 2 ** -126;

function trainedInputs(block: string, { trained, gate }: FfnMatch): Record<string, Initializer> {
  if (trained === undefined || trained.by === 'deviation') return {};
  const threshold = trained.by === 'zeros' ? LEAST_ACTIVATION : Math.max(trained.threshold, LEAST_ACTIVATION);
  const ones = new Float32Array(gate.weight.shape[0]).fill(1);
  return {
    threshold: { name: `${block}.threshold`, data: float32Tensor([threshold], []) },
    weights: { name: `${block}.score_weights`, data: float32Tensor(ones) },
  };
}

/** The copy of gate and up by which neurons are chosen, rounded to nearest: errors of ranks do not add up over layers. */
function predictorInputs(
  block: string,
  { measure }: Choice,
  gate: StoredWeight,
  up: StoredWeight,
): Record<string, Initializer> {
  const { predictor } = measureNamed(measure);
  if (predictor === undefined) return {};
  const { linear } = precisionNamed(predictor);
  if (linear.kind !== 'blocks') throw new RangeError(`${predictor} has no blocks to predict by`);
  const { kind: _, ...scheme } = linear;
  const rows = [gate, up].map(({ data }) => cast(data.data, 'float32'));
  const { codes, scales } = quantize(concatRows(rows), scheme);
  return {
    predictor: { name: `${block}.predictor`, data: codes },
    predictor_scales: { name: `${block}.predictor.scales`, data: scales },
  };
}

/** Puts each block's node in the place of what it matched; bodies and weights come with it, unused weights go. */
export function withBlocks(graph: Graph, bodies: Bodies, blocks: readonly GatedBlock[]): Graph {
  const replacements = new Map<Node, readonly Node[]>();
  for (const { match, nodes } of blocks) {
    for (const matched of match.nodes) replacements.set(matched, []);
    replacements.set(match.nodes[0], nodes);
  }
  const replaced = replaceNodes(graph, replacements);
  return dropUnusedInitializers({
    ...replaced,
    initializers: oneOfEachName([...replaced.initializers, ...blocks.flatMap((block) => block.initializers)]),
    valueInfo: [...(graph.valueInfo ?? []), ...blocks.flatMap(({ values }) => values)],
    functions: bodies.functions,
    opsets: { ...replaced.opsets, [LACUNA_DOMAIN]: 1 },
  });
}
