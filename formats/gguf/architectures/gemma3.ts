/** Gemma 3's text model in GGUF: norms are stored as 1 + weight. */
import * as z from 'zod';
import type { JsonObject } from '../../../src/core/json.ts';
import { addConstant, type TensorExpr } from '../../../src/core/tensor.ts';
import { badGguf } from '../cursor.ts';
import type { ConfigSource, GgufArchitecture, TensorRule } from './architecture.ts';
import { block, DECODER_KEYS, decoderConfig, linear, PLAIN_TENSORS, size } from './decoder.ts';

const fields = z.object({
  ...DECODER_KEYS,
  'attention.head_count_kv': size,
  'attention.key_length': size,
  'attention.value_length': size,
  'attention.sliding_window': size,
  'rope.freq_base': z.number().positive().default(1_000_000),
  'rope.scaling.type': z.enum(['none', 'linear']).default('none'),
});

type Fields = z.infer<typeof fields>;

/**
 * Of this many layers, the last sees everything. The others have a window, and this base of positions. GGUF names neither.
 */
const LAYERS_A_ROUND = 6;
const LOCAL_ROPE_THETA = 10_000;

/** For the 27B model, whose attention scale is that of hidden_size / heads and not of the heads' width. */
const LAYERS_OF_27B = 62;

function norm(pattern: RegExp, name: string): TensorRule<Fields> {
  return { pattern, name, undo: (tensor: TensorExpr) => addConstant(tensor, -1) };
}

const blockNorm = (part: string, name: string) => norm(block(part, 'weight'), `model.layers.{0}.${name}.weight`);

const tensors: readonly TensorRule<Fields>[] = [
  ...PLAIN_TENSORS,
  blockNorm('attn_norm', 'input_layernorm'),
  ...linear('attn_q', 'self_attn.q_proj'),
  ...linear('attn_k', 'self_attn.k_proj'),
  blockNorm('attn_q_norm', 'self_attn.q_norm'),
  blockNorm('attn_k_norm', 'self_attn.k_norm'),
  blockNorm('post_attention_norm', 'post_attention_layernorm'),
  blockNorm('ffn_norm', 'pre_feedforward_layernorm'),
  blockNorm('post_ffw_norm', 'post_feedforward_layernorm'),
  norm(/^output_norm\.weight$/, 'model.norm.weight'),
];

export const gemma3: GgufArchitecture<Fields> = { name: 'gemma3', fields, config, tensors, inConfig: [] };

async function config(source: ConfigSource<Fields>): Promise<JsonObject> {
  const { fields, path } = source;
  const { block_count: layers, 'attention.key_length': headDim } = fields;
  if (fields['attention.value_length'] !== headDim)
    throw badGguf(path, `keys are ${headDim} wide and values ${fields['attention.value_length']}; both must be equal`);
  const heads = fields['attention.head_count'];
  return {
    ...decoderConfig(source),
    architectures: ['Gemma3ForCausalLM'],
    attn_logit_softcapping: null,
    final_logit_softcapping: null,
    head_dim: headDim,
    hidden_activation: 'gelu_pytorch_tanh',
    layer_types: layerTypes(layers),
    model_type: 'gemma3_text',
    num_key_value_heads: fields['attention.head_count_kv'],
    query_pre_attn_scalar: layers === LAYERS_OF_27B ? fields.embedding_length / heads : headDim,
    rope_local_base_freq: LOCAL_ROPE_THETA,
    rope_scaling: ropeScaling(fields),
    sliding_window: fields['attention.sliding_window'],
  };
}

function layerTypes(layers: number): string[] {
  return Array.from({ length: layers }, (_, i) =>
    (i + 1) % LAYERS_A_ROUND === 0 ? 'full_attention' : 'sliding_attention',
  );
}

/** For the layers that see everything. */
function ropeScaling({ 'rope.scaling.type': kind, 'rope.scaling.factor': factor }: Fields): object | null {
  return kind === 'none' || factor === undefined || factor === 1 ? null : { rope_type: 'linear', factor };
}
