/** Gemma 3's text model in GGUF: norms are stored as 1 + weight. */
import * as z from 'zod';
import { addConstant, type TensorExpr } from '../../../src/core/tensor.ts';
import { badGguf } from '../cursor.ts';
import type { ConfigSource, GgufArchitecture, TensorRule } from './architecture.ts';
import { block, linear } from './rules.ts';
import { shortest } from './shortest.ts';

const size = z.int().positive();

const shape = {
  vocab_size: size.optional(),
  context_length: size,
  embedding_length: size,
  block_count: size,
  feed_forward_length: size,
  'attention.head_count': size,
  'attention.head_count_kv': size,
  'attention.key_length': size,
  'attention.value_length': size,
  'attention.layer_norm_rms_epsilon': z.number().positive(),
  'attention.sliding_window': size,
  'rope.freq_base': z.number().positive().default(1_000_000),
  'rope.scaling.type': z.enum(['none', 'linear']).default('none'),
  'rope.scaling.factor': z.number().positive().optional(),
};

const fields = z.object(shape);

type Fields = z.infer<typeof fields>;

/**
 * The length of a period whose last layer sees everything and whose other layers have a window, and the base of their
 * positions. GGUF names neither.
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
  { pattern: /^token_embd\.weight$/, name: 'model.embed_tokens.weight' },
  blockNorm('attn_norm', 'input_layernorm'),
  ...linear<Fields>('attn_q', 'self_attn.q_proj'),
  ...linear<Fields>('attn_k', 'self_attn.k_proj'),
  ...linear<Fields>('attn_v', 'self_attn.v_proj'),
  blockNorm('attn_q_norm', 'self_attn.q_norm'),
  blockNorm('attn_k_norm', 'self_attn.k_norm'),
  ...linear<Fields>('attn_output', 'self_attn.o_proj'),
  blockNorm('post_attention_norm', 'post_attention_layernorm'),
  blockNorm('ffn_norm', 'pre_feedforward_layernorm'),
  ...linear<Fields>('ffn_gate', 'mlp.gate_proj'),
  ...linear<Fields>('ffn_up', 'mlp.up_proj'),
  ...linear<Fields>('ffn_down', 'mlp.down_proj'),
  blockNorm('post_ffw_norm', 'post_feedforward_layernorm'),
  norm(/^output_norm\.weight$/, 'model.norm.weight'),
  { pattern: /^output\.weight$/, name: 'lm_head.weight' },
];

export const gemma3: GgufArchitecture<Fields> = {
  name: 'gemma3',
  fields,
  keys: Object.keys(shape),
  config,
  tensors,
  inConfig: [],
};

async function config(source: ConfigSource<Fields>): Promise<Readonly<Record<string, unknown>>> {
  const { fields, tensors, special, path } = source;
  const { block_count: layers, 'attention.key_length': headDim } = fields;
  const heads = fields['attention.head_count'];
  if (fields['attention.value_length'] !== headDim)
    throw badGguf(path, `keys are ${headDim} wide and values ${fields['attention.value_length']}; both must be equal`);
  const [vocabSize] = tensors.get('token_embd.weight')?.shape ?? [];
  return {
    architectures: ['Gemma3ForCausalLM'],
    attention_bias: tensors.has('blk.0.attn_q.bias'),
    attn_logit_softcapping: null,
    bos_token_id: special.bos ?? null,
    eos_token_id: special.eos.length > 1 ? special.eos : (special.eos[0] ?? null),
    final_logit_softcapping: null,
    head_dim: headDim,
    hidden_activation: 'gelu_pytorch_tanh',
    hidden_size: fields.embedding_length,
    intermediate_size: fields.feed_forward_length,
    layer_types: layerTypes(layers),
    max_position_embeddings: fields.context_length,
    model_type: 'gemma3_text',
    num_attention_heads: heads,
    num_hidden_layers: layers,
    num_key_value_heads: fields['attention.head_count_kv'],
    pad_token_id: special.pad ?? null,
    query_pre_attn_scalar: layers === LAYERS_OF_27B ? fields.embedding_length / heads : headDim,
    rms_norm_eps: shortest(fields['attention.layer_norm_rms_epsilon']),
    rope_local_base_freq: LOCAL_ROPE_THETA,
    rope_scaling: ropeScaling(fields),
    rope_theta: fields['rope.freq_base'],
    sliding_window: fields['attention.sliding_window'],
    tie_word_embeddings: !tensors.has('output.weight'),
    vocab_size: vocabSize ?? fields.vocab_size,
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
