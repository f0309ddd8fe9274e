/** Layers without attention, their FFNs as converters write them: what rewriting rules are tried on. */
import { thresholdedRelu } from '../converters/blocks/activation.ts';
import { cutGates } from '../converters/blocks/gate-cut.ts';
import { attr, type Graph } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import { ffnBiasName, ffnWeightName, hiddenName, type Tap, tapName } from '../src/core/model.ts';
import { float32Tensor, type TensorExpr } from '../src/core/tensor.ts';
import type { Activation } from '../src/ops/index.ts';
import { seededFloats } from './random.ts';

export interface StackOptions {
  readonly layers: number;
  readonly activation?: Activation | 'silu-by-sigmoid';
  readonly bias?: boolean;
  readonly postNorm?: boolean;
  /** Gates are cut by mean + deviation * this, as in a model that was trained so. */
  readonly gateQuantile?: number;
  /** In place of the activation: x where it is at least this, else 0. */
  readonly gateThreshold?: number;
}

export const HIDDEN = 8;
export const NEURONS = 24;

/**
 * hidden.0 [b, s, 8] and positions [b, s] -> the normed last hidden state. In each layer `mixed` stands for attention:
 * hidden + W norm(hidden), then hidden + FFN(norm hidden).
 */
export function ffnStack({
  layers,
  activation = 'silu-by-sigmoid',
  bias = false,
  postNorm = false,
  gateQuantile,
  gateThreshold,
}: StackOptions): Graph {
  const g = new GraphBuilder('stack');
  const floats = seededFloats(7);
  const random = (...shape: number[]): TensorExpr =>
    float32Tensor(floats(shape.reduce((product, dim) => product * dim, 1)), shape);
  const norm = (x: string, name: string, output: string) =>
    g.op('SimplifiedLayerNormalization', [x, g.initializer(name, random(HIDDEN))], {
      attributes: { axis: attr.int(-1), epsilon: attr.float(1e-6), stash_type: attr.int(1) },
      outputs: [output],
    });
  const multiply = (x: string, weight: string, output: string) =>
    g.contrib('FusedMatMul', [x, weight], { attributes: { transB: attr.int(1) }, outputs: [output] });
  const linear = (layer: number, x: string, of: 'gate_proj' | 'up_proj' | 'down_proj', output: string) => {
    const [rows, columns] = of === 'down_proj' ? [HIDDEN, NEURONS] : [NEURONS, HIDDEN];
    const weight = g.initializer(ffnWeightName(layer, of), random(rows, columns));
    if (!bias) return multiply(x, weight, output);
    const product = multiply(x, weight, g.fresh('product'));
    return g.op('Add', [product, g.initializer(ffnBiasName(layer, of), random(rows))], { outputs: [output] });
  };
  g.op('Identity', ['positions'], { outputs: ['position_ids'] });
  for (let layer = 0; layer < layers; layer++) {
    const tap = (name: Tap) => tapName(layer, name);
    const attnIn = norm(hiddenName(layer), `model.layers.${layer}.input_layernorm.weight`, tap('attn_in'));
    const mixed = multiply(attnIn, g.initializer(`mix.${layer}`, random(HIDDEN, HIDDEN)), g.fresh('mixed'));
    const residual = g.op('Add', [hiddenName(layer), mixed], { outputs: [tap('ffn_residual')] });
    const x = norm(residual, `model.layers.${layer}.post_attention_layernorm.weight`, tap('ffn_in'));
    const gate = linear(layer, x, 'gate_proj', tap('gate'));
    const up =
      activation === 'drelu'
        ? g.op('Relu', [linear(layer, x, 'up_proj', g.fresh('up_product'))], { outputs: [tap('up')] })
        : linear(layer, x, 'up_proj', tap('up'));
    const open = gateQuantile === undefined ? gate : cutGates(g, gate, gateQuantile, 'float32');
    const act =
      gateThreshold === undefined
        ? activate(g, activation, open, tap('act'))
        : thresholdedRelu(g, open, gateThreshold, tap('act'));
    const product = g.op('Mul', [act, up]);
    const down = linear(layer, product, 'down_proj', postNorm ? g.fresh('down') : tap('ffn_out'));
    const out = postNorm ? norm(down, `model.layers.${layer}.post_feedforward_layernorm.weight`, tap('ffn_out')) : down;
    g.op('Add', [residual, out], { outputs: [hiddenName(layer + 1)] });
  }
  norm(hiddenName(layers), 'model.norm.weight', 'out');
  const stream = (name: string) => value(name, 'float32', ['batch_size', 'sequence_length', HIDDEN]);
  const inputs = [stream(hiddenName(0)), value('positions', 'int64', ['batch_size', 'sequence_length'])];
  return g.graph(inputs, [stream('out')]);
}

function activate(
  g: GraphBuilder,
  activation: NonNullable<StackOptions['activation']>,
  x: string,
  output: string,
): string {
  const outputs = [output];
  switch (activation) {
    case 'silu-by-sigmoid':
      return g.op('Mul', [x, g.op('Sigmoid', [x])], { outputs });
    case 'silu':
      return g.contrib('QuickGelu', [x], { attributes: { alpha: attr.float(1) }, outputs });
    case 'gelu':
      return g.op('Gelu', [x], { attributes: { approximate: attr.string('none') }, outputs });
    case 'gelu_tanh':
      return g.op('Gelu', [x], { attributes: { approximate: attr.string('tanh') }, outputs });
    case 'relu':
    case 'drelu':
      return g.op('Relu', [x], { outputs });
  }
}
