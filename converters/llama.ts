/** LLaMA 1 to 3.2 and what was trained in its image (SmolLM2, TinyLlama): pre-norm attention and gated FFN. */
import { attentionBiases, ffnBiases } from './config/biases.ts';
import { decoderArchitecture } from './decoder.ts';

export const llama = decoderArchitecture({
  modelType: 'llama',
  className: 'LlamaForCausalLM',
  defaults: { max_position_embeddings: 2048 },
  thresholds: true,
  lacks: ['sliding_window'],
  biases: (fields) => [...attentionBiases(fields), ...ffnBiases(fields)],
});
