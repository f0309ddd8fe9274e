/**
 * SparkFFN, the FFN of Spark Transformer (2506.06644, section 3):
 *
 *     y = down^T (act(top_k(gate x[:r])) * (up x[r:]))
 *
 * The first r entries of x are gate and predictor at once, so that which neurons count is known from r / h of a layer's input
 * weights; `up` is multiplied with the others. Statistical top-k as in StatisticalTopK. There are no biases.
 *
 * Weights are neuron-major, gate [f, r], up [f, h - r], down [f, h], stored as GatedFFN's. The op type is
 * `SparkFFN_<storage>`, then `_hard` where top-k leaves what it chooses as it is.
 */
import { attr, type Node, type OpFunction } from '../core/graph.ts';
import type { GraphBuilder } from '../core/graph-builder.ts';
import { type Activation, activate } from './activations.ts';
import { castTo, opFunction, sizeAttribute } from './body.ts';
import { callNode, type InputValues, type OutputValues } from './contract.ts';
import { allNeurons, chosenNeurons, neuronCount } from './gated-ffn/neurons.ts';
import type { FfnMatrix } from './gated-ffn/storage.ts';
import { type Storage, storageOf } from './gated-ffn/storages.ts';
import { postNorm } from './gated-ffn.ts';
import { count, statisticalTopK, type TopKMode } from './statistical-top-k.ts';

/** What decides the body. */
export interface SparkFfnVariant {
  readonly storage: Storage;
  readonly mode: TopKMode;
  readonly activation: Activation;
  /** RMS norm of y, as Gemma 2 has it. */
  readonly postNorm: boolean;
}

export interface SparkFfnCall {
  readonly node: string;
  readonly inputs: InputValues<'SparkFFN'>;
  readonly outputs: OutputValues<'SparkFFN'>;
  /** Q(1 - k / f). */
  readonly quantile: number;
  /** h, r and f. */
  readonly sizes: { readonly hidden: number; readonly gateInputs: number; readonly neurons: number };
  /** Of the post-norm. */
  readonly epsilon?: number;
}

export function sparkFfnOpType({ storage, mode }: SparkFfnVariant): string {
  return ['SparkFFN', storage, ...(mode === 'hard' ? ['hard'] : [])].join('_');
}

/** What is in its records, in storages that have records. */
export const SPARK_RECORDED: readonly FfnMatrix[] = ['up', 'down'];

/** The node that calls a variant; throws a RangeError when r is not between 0 and h. */
export function sparkFfnNode(variant: SparkFfnVariant, call: SparkFfnCall): Node {
  const { hidden, gateInputs, neurons } = call.sizes;
  if (!(gateInputs > 0 && gateInputs < hidden))
    throw new RangeError(`Expected 1 to ${hidden - 1} entries for SparkFFN's gate but received ${gateInputs}`);
  return callNode('SparkFFN', {
    ...call,
    opType: sparkFfnOpType(variant),
    attributes: {
      activation: attr.string(variant.activation),
      quantile: attr.float(call.quantile),
      mode: attr.string(variant.mode),
      ...(call.epsilon !== undefined && { epsilon: attr.float(call.epsilon) }),
      gate_inputs: attr.int(gateInputs),
      up_inputs: attr.int(hidden - gateInputs),
      hidden_size: attr.int(hidden),
      intermediate_size: attr.int(neurons),
    },
  });
}

/** The portable body of a variant. */
export function sparkFfnFunction(variant: SparkFfnVariant): OpFunction {
  const doc = 'y = down(act(top-k(gate x[:r])) * up x[r:]) over the chosen neurons.';
  return opFunction('SparkFFN', sparkFfnOpType(variant), doc, ['y', 'kept'], (g) => {
    const storage = storageOf(variant.storage);
    const { first, rest } = splitInput(g);
    const projected = storage.project(g, first, 'gate', 'gate_inputs');
    const { y: gate, chosen } = statisticalTopK(g, projected, neuronCount(g, storage), variant.mode);
    const act = activate(g, variant.activation, gate);
    const up = (b: GraphBuilder) => storage.project(b, rest, 'up', 'up_inputs');
    const values = { x: rest, act, up, upBias: false, storage };
    const isChosen = castTo(g, chosen(), 'float32');
    const { gathered } = storage;
    const product = gathered === undefined ? allNeurons(g, values) : chosenNeurons(g, values, isChosen, gathered);
    g.op('Identity', [variant.postNorm ? postNorm(g, product) : product], { outputs: ['y'] });
    count(g, isChosen, 'kept');
  });
}

/** x[:r] and x[r:]. */
function splitInput(g: GraphBuilder) {
  const sizes = g.op('Concat', [sizeAttribute(g, 'gate_inputs'), sizeAttribute(g, 'up_inputs')], {
    attributes: { axis: attr.int(0) },
  });
  const outputs = [g.fresh('first'), g.fresh('rest')];
  const [first, rest] = g.ops('Split', ['x', sizes], { attributes: { axis: attr.int(-1) }, outputs });
  return { first, rest };
}
