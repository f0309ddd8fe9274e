/** Gemma 1: LLaMA's layers with norms that multiply by 1 + weight, scaled embeddings and a GELU gate. */
import { attentionBiases } from './config/biases.ts';
import { decoderArchitecture } from './decoder.ts';

export const gemma = decoderArchitecture({
  modelType: 'gemma',
  className: 'GemmaForCausalLM',
  defaults: {
    vocab_size: 256_000,
    hidden_size: 3072,
    intermediate_size: 24_576,
    num_hidden_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 16,
    head_dim: 256,
    hidden_act: 'gelu_pytorch_tanh',
    max_position_embeddings: 8192,
    eos_token_id: 1,
    bos_token_id: 2,
    tie_word_embeddings: true,
  },
  lacks: ['sliding_window', 'mlp_bias'],
  // The first releases say "gelu" but were trained with the approximation. `hidden_activation` is not read.
  activations: { gelu: 'gelu_tanh' },
  biases: attentionBiases,
  traits: { addsOneToNorms: true, scalesEmbeddings: true },
});
