/** Mistral: LLaMA with a sliding window and without biases. */
import type { Family } from './config/decoder-config.ts';
import { decoderArchitecture } from './decoder.ts';

export const mistralFamily: Family = {
  modelType: 'mistral',
  className: 'MistralForCausalLM',
  defaults: { num_key_value_heads: 8, max_position_embeddings: 131_072, sliding_window: 4096 },
  thresholds: true,
  lacks: ['attention_bias', 'mlp_bias'],
};

export const mistral = decoderArchitecture(mistralFamily);
