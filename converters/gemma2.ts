/** Gemma 2: norms on both sides of attention and FFN, every second layer in a window, and soft-capped scores and logits. */
import { attentionBiases } from './config/biases.ts';
import { fullEvery } from './config/layer-kinds.ts';
import { decoderArchitecture } from './decoder.ts';

export const gemma2 = decoderArchitecture({
  modelType: 'gemma2',
  className: 'Gemma2ForCausalLM',
  defaults: {
    vocab_size: 256_000,
    hidden_size: 2304,
    intermediate_size: 9216,
    num_hidden_layers: 26,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    head_dim: 256,
    hidden_activation: 'gelu_pytorch_tanh',
    max_position_embeddings: 8192,
    eos_token_id: 1,
    bos_token_id: 2,
    tie_word_embeddings: true,
    query_pre_attn_scalar: 256,
    sliding_window: 4096,
    final_logit_softcapping: 30,
    attn_logit_softcapping: 50,
  },
  lacks: ['mlp_bias', 'sliding_window_pattern'],
  reads: ['query_pre_attn_scalar', 'attn_logit_softcapping', 'final_logit_softcapping'],
  // Its configs also have `hidden_act`, which is not read.
  activationField: 'hidden_activation',
  // Layers 0, 2, 4 ... have the window.
  layers: fullEvery(2),
  biases: attentionBiases,
  traits: { addsOneToNorms: true, scalesEmbeddings: true, normsOutputs: true },
});
