/** Mistral: LLaMA with a sliding window and without biases. */
import { llamaFamily } from './llama.ts';

export const mistral = llamaFamily({
  modelType: 'mistral',
  className: 'MistralForCausalLM',
  defaults: { num_key_value_heads: 8, max_position_embeddings: 131_072, sliding_window: 4096 },
  lacks: ['attention_bias', 'mlp_bias'],
});
