/** Checkpoints of any size of which only the sizes matter: Gemma 2 and Spark Transformer, with tensors that nobody reads. */
import type { Checkpoint } from '../src/core/checkpoint.ts';
import type { TensorExpr } from '../src/core/tensor.ts';
import { checkpointOf } from './small-checkpoint.ts';

export interface Sizes extends Readonly<Record<string, unknown>> {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly intermediate_size: number;
  /** Of Spark Transformer: entries of the FFN's input that its gate reads. */
  readonly ffn_predictor_size?: number;
}

/** The file that all tensors are said to be in. */
export const UNREAD = 'unread';

/** Every tensor that the config asks for, in bfloat16. */
export function unreadCheckpoint(config: Sizes): Checkpoint {
  const { hidden_size: h, intermediate_size: f, head_dim: d, num_attention_heads: q, num_key_value_heads: kv } = config;
  const { ffn_predictor_size: r } = config;
  const ofLayer: Readonly<Record<string, readonly number[]>> = {
    'self_attn.q_proj': [q * d, h],
    'self_attn.k_proj': [kv * d, h],
    'self_attn.v_proj': [kv * d, h],
    'self_attn.o_proj': [h, q * d],
    'mlp.gate_proj': [f, r ?? h],
    'mlp.up_proj': [f, h - (r ?? 0)],
    'mlp.down_proj': [h, f],
    input_layernorm: [h],
    post_attention_layernorm: [h],
    pre_feedforward_layernorm: [h],
    post_feedforward_layernorm: [h],
  };
  const shapes: [string, readonly number[]][] = [
    ['model.embed_tokens.weight', [config.vocab_size, h]],
    ['model.norm.weight', [h]],
  ];
  for (let layer = 0; layer < config.num_hidden_layers; layer++)
    for (const [name, shape] of Object.entries(ofLayer)) shapes.push([`model.layers.${layer}.${name}.weight`, shape]);
  const tensors = shapes.map(([name, shape]): [string, TensorExpr] => [
    name,
    { kind: 'file', path: UNREAD, byteOffset: 0, name, dtype: 'bfloat16', shape, mustBeFinite: false },
  ]);
  return { ...checkpointOf(config), tensors: new Map(tensors) };
}
