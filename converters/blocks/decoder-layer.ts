/** One layer of a decoder: attention, then FFN, each added to the residual stream. */
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import { hiddenName, tapName } from '../../src/core/model.ts';
import { cast, multiplyConstant } from '../../src/core/tensor.ts';
import { attention } from './attention.ts';
import { gatedMlp } from './gated-mlp.ts';
import type { DecoderParts } from './parts.ts';
import { rmsNorm, streamEpsilon } from './rms-norm.ts';

/** Adds the nodes from `hidden.<index>` to `hidden.<index + 1>`, with all taps of the layer. */
export type DecoderLayer = (g: GraphBuilder, index: number, parts: DecoderParts) => void;

/** LLaMA's: x + attention(norm x), then x + FFN(norm x). */
export const preNormLayer: DecoderLayer = (g, index, parts) => {
  const norm = layerNorm(g, index, parts);
  const input = hiddenName(index);
  const attnOut = attention(g, norm(input, 'input_layernorm', tapName(index, 'attn_in')), index, parts);
  const residual = g.op('Add', [input, attnOut], { outputs: [tapName(index, 'ffn_residual')] });
  const ffnIn = norm(residual, 'post_attention_layernorm', tapName(index, 'ffn_in'));
  const ffnOut = gatedMlp(g, ffnIn, index, parts, tapName(index, 'ffn_out'));
  g.op('Add', [residual, ffnOut], { outputs: [hiddenName(index + 1)] });
};

/** From Gemma 2 on: x + norm(attention(norm x)), then x + norm(FFN(norm x)). */
export const sandwichNormLayer: DecoderLayer = (g, index, parts) => {
  const norm = layerNorm(g, index, parts);
  const input = hiddenName(index);
  const attnIn = norm(input, 'input_layernorm', tapName(index, 'attn_in'));
  const attnOut = attention(g, attnIn, index, parts, tapName(index, 'projected'));
  const outputNorm = toStreamNorm(g, index, parts);
  const attended = outputNorm(attnOut, 'post_attention_layernorm');
  const residual = g.op('Add', [input, attended], { outputs: [tapName(index, 'ffn_residual')] });
  const ffnIn = norm(residual, 'pre_feedforward_layernorm', tapName(index, 'ffn_in'));
  const down = gatedMlp(g, ffnIn, index, parts, tapName(index, 'down'));
  const ffnOut = outputNorm(down, 'post_feedforward_layernorm', tapName(index, 'ffn_out'));
  g.op('Add', [residual, ffnOut], { outputs: [hiddenName(index + 1)] });
};

/** A norm of the residual stream. */
export function layerNorm(g: GraphBuilder, index: number, parts: DecoderParts) {
  return (x: string, name: string, output?: string) =>
    rmsNorm(g, x, parts.normWeights(`model.layers.${index}.${name}.weight`), streamEpsilon(parts), output);
}

/** A norm of what is added to the residual stream, with the stream's scale. */
export function toStreamNorm(
  g: GraphBuilder,
  index: number,
  { config, normWeights, streamScale, floats }: DecoderParts,
) {
  return (x: string, name: string, output?: string) => {
    const weight = normWeights(`model.layers.${index}.${name}.weight`);
    const scaled = { name: weight.name, data: cast(multiplyConstant(weight.data, streamScale), floats) };
    return rmsNorm(g, x, scaled, config.rmsNormEps, output);
  };
}
