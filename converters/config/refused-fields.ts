/**
 * Config fields that change what a decoder computes, and that none of our blocks implements. Values that turn them off
 * are fine; any other is refused by name. Transformers ignores all fields that are neither here nor read by the schema.
 */
import { shown } from './issues.ts';

export interface FieldRules {
  /** Fields of other architectures. Transformers would ignore them, so they are most likely a mistake. */
  readonly lacks: readonly string[];
  /** Fields of the list below that it has. */
  readonly reads?: readonly string[];
}

type Neutral = (value: unknown) => boolean;

const off: Neutral = (value) => value === undefined || value === null || value === false || value === 0;
const absent: Neutral = (value) => value === undefined || value === null;
const one: Neutral = (value) => absent(value) || value === 1;
const on: Neutral = (value) => absent(value) || value === true;
const empty: Neutral = (value) => absent(value) || (typeof value === 'object' && Object.keys(value ?? {}).length === 0);

interface Refusal {
  readonly neutral: Neutral;
  readonly means: string;
}

const REFUSALS: Readonly<Record<string, Refusal>> = {
  quantization_config: { neutral: absent, means: 'quantised weights' },
  compression_config: { neutral: absent, means: 'quantised weights' },
  quantization: { neutral: absent, means: 'quantised weights' },
  pretraining_tp: { neutral: one, means: 'products cut as in tensor-parallel training' },
  attn_logit_softcapping: { neutral: off, means: 'soft-capped attention scores' },
  final_logit_softcapping: { neutral: off, means: 'soft-capped logits' },
  query_pre_attn_scalar: { neutral: absent, means: 'another attention scale' },
  attention_multiplier: { neutral: absent, means: 'another attention scale' },
  embedding_multiplier: { neutral: one, means: 'scaled embeddings' },
  residual_multiplier: { neutral: one, means: 'scaled residuals' },
  logits_scaling: { neutral: one, means: 'scaled logits' },
  logit_scale: { neutral: one, means: 'scaled logits' },
  rope_interleaved: { neutral: off, means: 'rotary pairs of neighbours instead of halves' },
  partial_rotary_factor: { neutral: one, means: 'rotary positions on part of each head' },
  rotary_pct: { neutral: one, means: 'rotary positions on part of each head' },
  no_rope_layers: { neutral: empty, means: 'layers without positions' },
  no_rope_layer_interval: { neutral: off, means: 'layers without positions' },
  alibi: { neutral: off, means: 'ALiBi positions' },
  qk_norm: { neutral: off, means: 'normed queries and keys' },
  use_qk_norm: { neutral: off, means: 'normed queries and keys' },
  qk_layernorm: { neutral: off, means: 'normed queries and keys' },
  clip_qkv: { neutral: absent, means: 'clipped queries, keys and values' },
  attention_chunk_size: { neutral: off, means: 'attention in chunks' },
  is_causal: { neutral: on, means: 'attention to later tokens' },
  use_bidirectional_attention: { neutral: off, means: 'attention to later tokens' },
  add_cross_attention: { neutral: off, means: 'cross attention' },
  is_encoder_decoder: { neutral: off, means: 'an encoder' },
  num_local_experts: { neutral: off, means: 'a mixture of experts' },
  num_experts: { neutral: off, means: 'a mixture of experts' },
  n_routed_experts: { neutral: off, means: 'a mixture of experts' },
  ffn_predictor_size: { neutral: absent, means: 'FFNs of Spark Transformer' },
  ffn_active_neurons: { neutral: absent, means: 'FFNs of Spark Transformer' },
  attention_predictor_size: { neutral: absent, means: 'attention of Spark Transformer' },
  attended_tokens: { neutral: absent, means: 'attention of Spark Transformer' },
  pruned_heads: { neutral: empty, means: 'pruned attention heads' },
};

/** One line for each field of `config` that asks for something unsupported. */
export function refusedFields(config: Readonly<Record<string, unknown>>, { lacks, reads = [] }: FieldRules): string[] {
  const refused = Object.entries(REFUSALS).filter(
    ([field, { neutral }]) => !reads.includes(field) && !lacks.includes(field) && !neutral(config[field]),
  );
  const lacking = lacks.filter((field) => !off(config[field]));
  return [
    ...refused.map(([field, { means }]) => `${field} = ${shown(config[field])}: ${means}`),
    ...lacking.map((field) => `${field} = ${shown(config[field])}: this architecture has no such thing`),
  ];
}
