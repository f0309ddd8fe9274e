/**
 * Spark Transformer (You et al. 2025, 2506.06644): Gemma 2's blocks, with FFNs and attention that were trained to compute
 * about k of their neurons and to attend to about k tokens (sections 2 and 3). No checkpoint is published; docs/spark.md
 * has the fields and names that we read.
 */
import { attentionBiases } from './config/biases.ts';
import { SPARK_FIELDS, withSparkFields } from './config/spark-config.ts';
import { decoderArchitecture } from './decoder.ts';

export const spark = decoderArchitecture({
  modelType: 'spark',
  className: 'SparkForCausalLM',
  defaults: {
    hidden_activation: 'gelu_pytorch_tanh',
    eos_token_id: 1,
    bos_token_id: 2,
    tie_word_embeddings: true,
  },
  lacks: ['mlp_bias', 'sliding_window', 'sliding_window_pattern', 'query_pre_attn_scalar'],
  reads: ['attn_logit_softcapping', 'final_logit_softcapping', ...SPARK_FIELDS],
  activationField: 'hidden_activation',
  biases: attentionBiases,
  further: withSparkFields,
  traits: { addsOneToNorms: true, scalesEmbeddings: true, normsOutputs: true },
});
