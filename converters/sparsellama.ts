/** ProSparse (Song et al. 2024): LLaMA 2, trained until FATReLU leaves few neurons. */
import { renamed } from './renamed.ts';

export const sparseLlama = renamed({
  modelType: 'sparsellama',
  className: 'SparseLlamaForCausalLM',
  family: {
    modelType: 'llama',
    className: 'LlamaForCausalLM',
    defaults: { max_position_embeddings: 2048 },
    thresholds: true,
    lacks: ['sliding_window', 'attention_bias', 'mlp_bias'],
  },
});
