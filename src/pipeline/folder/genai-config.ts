/** genai_config.json: onnxruntime-genai reads it instead of config.json, and refuses any key it does not know. */
import type { ModelSpec } from '../../core/model.ts';

/** `sharesCacheBuffer`: GroupQueryAttention writes into the cache that it is given, so past and present may be one. */
export function genaiConfig(spec: ModelSpec, sharesCacheBuffer: boolean): Record<string, unknown> {
  const eos = spec.eosTokenIds.length === 0 ? [0] : spec.eosTokenIds;
  return {
    model: {
      type: spec.modelType,
      context_length: spec.contextLength,
      vocab_size: spec.vocabSize,
      ...(spec.bosTokenId === undefined ? {} : { bos_token_id: spec.bosTokenId }),
      eos_token_id: eos.length === 1 ? eos[0] : eos,
      pad_token_id: spec.padTokenId ?? eos[0],
      decoder: {
        filename: 'onnx/model.onnx',
        session_options: { log_id: 'onnxruntime-genai', provider_options: [] },
        hidden_size: spec.hiddenSize,
        num_attention_heads: spec.numAttentionHeads,
        num_key_value_heads: spec.numKeyValueHeads,
        // It counts caches by them.
        num_hidden_layers: spec.cacheLayers ?? spec.numHiddenLayers,
        head_size: spec.headDim,
        inputs: {
          input_ids: 'input_ids',
          attention_mask: 'attention_mask',
          past_key_names: 'past_key_values.%d.key',
          past_value_names: 'past_key_values.%d.value',
        },
        outputs: { logits: 'logits', present_key_names: 'present.%d.key', present_value_names: 'present.%d.value' },
      },
    },
    search: {
      do_sample: false,
      early_stopping: true,
      max_length: spec.contextLength,
      min_length: 0,
      num_beams: 1,
      num_return_sequences: 1,
      past_present_share_buffer: sharesCacheBuffer,
      temperature: 1,
      top_k: 1,
      top_p: 1,
    },
  };
}
