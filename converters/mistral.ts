/** Mistral: LLaMA with a sliding window and without biases. */
import { decoderArchitecture } from './decoder.ts';

export const mistral = decoderArchitecture({
  modelType: 'mistral',
  className: 'MistralForCausalLM',
  defaults: { num_key_value_heads: 8, max_position_embeddings: 131_072, sliding_window: 4096 },
  lacks: ['attention_bias', 'mlp_bias'],
});
