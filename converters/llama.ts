/** LLaMA 1 to 3.2 and models of the same build (SmolLM2, TinyLlama): pre-norm attention and gated FFN. */
import { decoderArchitecture } from './decoder.ts';

export const llama = decoderArchitecture({
  modelType: 'llama',
  className: 'LlamaForCausalLM',
  defaults: { max_position_embeddings: 2048 },
  lacks: ['sliding_window'],
});
