/** Configs and checkpoints without weights, for tests. */
import type { Checkpoint } from '../src/core/checkpoint.ts';
import type { DType } from '../src/core/dtype.ts';
import type { FileTensor } from '../src/core/tensor.ts';

/** Four queries of 8 over two keys, two layers; everything else by default. */
export const SMALL_CONFIG = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  vocab_size: 10,
  hidden_size: 32,
  intermediate_size: 6,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
} as const;

export function checkpointOf(config: object, tensors: readonly FileTensor[] = [], generation?: object): Checkpoint {
  return {
    path: 'model',
    config: config as Checkpoint['config'],
    generationConfig: generation as Checkpoint['generationConfig'],
    tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])),
    files: new Map(),
    fingerprint: '',
  };
}

export function fileTensor(name: string, shape: readonly number[], dtype: DType = 'bfloat16'): FileTensor {
  return { kind: 'file', path: 'model.safetensors', byteOffset: 0, name, dtype, shape, mustBeFinite: true };
}
