/**
 * The gated FFN (Shazeer 2020, "GLU variants"): down(activation(gate x) * up x), whose gates training may have cut. gate
 * and up may each read a part of x (Spark Transformer, 2506.06644, section 3).
 */
import { entries, type GraphBuilder } from '../../src/core/graph-builder.ts';
import { type FFN_WEIGHTS, ffnBiasName, ffnWeightName, tapName } from '../../src/core/model.ts';
import { activate, thresholdedRelu } from './activation.ts';
import { cutGates } from './gate-cut.ts';
import type { DecoderParts } from './parts.ts';
import { linear } from './product.ts';

/** x [b, s, hidden] -> the FFN's result: tap `ffn_out`, or `down` if a norm follows; gate, up and act on the way. */
export function gatedMlp(g: GraphBuilder, x: string, index: number, parts: DecoderParts, output: string): string {
  const { config, weights, floats } = parts;
  const { gateQuantile } = config.layers[index];
  const { activation, activationThreshold: threshold } = config;
  const project = (from: string, projection: (typeof FFN_WEIGHTS)[number], result: string) => {
    const bias = config.biases.has('ffn') ? weights(ffnBiasName(index, projection)) : undefined;
    return linear(g, from, weights(ffnWeightName(index, projection)), bias, result);
  };
  const read = partsOf(g, x, config);
  const gate = project(read.gate, 'gate_proj', tapName(index, 'gate'));
  const isUpActivated = config.traits?.activatesUp === true;
  const upped = project(read.up, 'up_proj', isUpActivated ? g.fresh('up_product') : tapName(index, 'up'));
  const up = isUpActivated ? activate(g, upped, activation, tapName(index, 'up')) : upped;
  const open = gateQuantile === undefined ? gate : cutGates(g, gate, gateQuantile, floats);
  const act =
    threshold === undefined
      ? activate(g, open, activation, tapName(index, 'act'))
      : thresholdedRelu(g, open, threshold, tapName(index, 'act'));
  return project(g.op('Mul', [act, up]), 'down_proj', output);
}

/** What gate and up read of x. */
function partsOf(g: GraphBuilder, x: string, { gateInputs, spec }: DecoderParts['config']) {
  if (gateInputs === undefined) return { gate: x, up: x };
  return { gate: entries(g, x, 0, gateInputs), up: entries(g, x, gateInputs, spec.hiddenSize) };
}
