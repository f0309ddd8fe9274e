/** The assembled graph's names, shapes and order: the contract that rewriting and all hosts rely on. */
import { describe, expect, test } from 'vitest';
import type { Graph } from '../src/core/graph.ts';
import { TAPS, tapName } from '../src/core/model.ts';
import { checkpointOf, fileTensor, SMALL_CONFIG } from '../test/small-checkpoint.ts';
import { assemble } from './assemble.ts';
import { readDecoderConfig } from './config/decoder-config.ts';
import { openModel, sharesCacheBuffer } from './index.ts';
import { decoderTensors } from './weights.ts';

const FAMILY = { modelType: 'llama', className: 'LlamaForCausalLM', defaults: {}, lacks: [] };

function small(changes: object = {}) {
  const config = { ...SMALL_CONFIG, max_position_embeddings: 64, hidden_size: 64, ...changes };
  const tensors = decoderTensors(readDecoderConfig(checkpointOf(config), FAMILY));
  const files = tensors.map(({ name, shape }) => fileTensor(name, shape));
  return openModel(checkpointOf(config, files), { precision: 'fp32' });
}

const graph = assemble(small());

function dims(values: Graph['inputs']) {
  return values.map(({ name, dtype, shape }) => `${name} ${dtype} [${shape}]`);
}

test('inputs and outputs by the names and shapes that hosts look for', () => {
  expect(dims(graph.inputs)).toEqual([
    'input_ids int64 [batch_size,sequence_length]',
    'attention_mask int64 [batch_size,total_sequence_length]',
    'past_key_values.0.key float32 [batch_size,2,past_sequence_length,16]',
    'past_key_values.0.value float32 [batch_size,2,past_sequence_length,16]',
    'past_key_values.1.key float32 [batch_size,2,past_sequence_length,16]',
    'past_key_values.1.value float32 [batch_size,2,past_sequence_length,16]',
  ]);
  expect(dims(graph.outputs)).toEqual([
    'logits float32 [batch_size,sequence_length,10]',
    'present.0.key float32 [batch_size,2,total_sequence_length,16]',
    'present.0.value float32 [batch_size,2,total_sequence_length,16]',
    'present.1.key float32 [batch_size,2,total_sequence_length,16]',
    'present.1.value float32 [batch_size,2,total_sequence_length,16]',
  ]);
});

describe('values', () => {
  const made = graph.nodes.flatMap((node) => node.outputs);

  test('have one maker each, before the first use', () => {
    const known = new Set([...graph.inputs, ...graph.initializers].map(({ name }) => name));
    for (const node of graph.nodes) {
      for (const input of node.inputs) expect(input === '' || known.has(input), `${node.name}: ${input}`).toBe(true);
      for (const output of node.outputs) known.add(output);
    }
    expect(new Set(made).size).toBe(made.length);
    expect(new Set(graph.nodes.map((node) => node.name)).size).toBe(graph.nodes.length);
  });

  test('carry the taps of every layer and the positions', () => {
    for (const tap of TAPS) for (const layer of [0, 1]) expect(made).toContain(tapName(layer, tap));
    expect(made).toEqual(expect.arrayContaining(['hidden.0', 'hidden.1', 'hidden.2', 'position_ids']));
  });
});

test('initializers are the checkpoint’s tensors by name, packed attention, and one pair of rotary tables', () => {
  const names = graph.initializers.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  const layer = (index: number) =>
    ['input_layernorm', 'self_attn.qkv_proj', 'self_attn.o_proj', 'post_attention_layernorm']
      .concat(['mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj'])
      .map((part) => `model.layers.${index}.${part}.weight`);
  const around = ['model.embed_tokens.weight', 'rotary.cos', 'rotary.sin', 'model.norm.weight', 'lm_head.weight'];
  expect(names.sort()).toEqual([...around, ...layer(0), ...layer(1)].sort());
  expect(graph.initializers.every(({ data }) => data.dtype === 'float32')).toBe(true);
});

test('a tied head reads the embedding, which is there once', () => {
  const tied = assemble(small({ tie_word_embeddings: true }));
  expect(tied.initializers.map(({ name }) => name)).not.toContain('lm_head.weight');
  expect(tied.nodes.filter((node) => node.inputs.includes('model.embed_tokens.weight'))).toMatchObject([
    { opType: 'Gather' },
    { opType: 'FusedMatMul', outputs: ['logits'] },
  ]);
});

test('the residual stream is a regular chain of Add and norm, for passes to find', () => {
  const chain = graph.nodes.filter(({ opType }) => opType === 'Add' || opType === 'SimplifiedLayerNormalization');
  expect(chain.map(({ opType }) => opType)).toEqual(
    ['SimplifiedLayerNormalization', 'Add', 'SimplifiedLayerNormalization', 'Add']
      .concat(['SimplifiedLayerNormalization', 'Add', 'SimplifiedLayerNormalization', 'Add'])
      .concat(['SimplifiedLayerNormalization']),
  );
  for (const [i, node] of chain.entries())
    if (i > 0 && node.opType !== 'Add') expect(node.inputs[0]).toBe(chain[i - 1].outputs[0]);
});

test('heads of multiples of 16 share a cache buffer, others are widened around the operator', () => {
  expect([16, 64, 80, 128].every((headDim) => sharesCacheBuffer({ headDim }))).toBe(true);
  expect([8, 10, 24, 100].some((headDim) => sharesCacheBuffer({ headDim }))).toBe(false);
  const kinds = (of: Graph) => new Set(of.nodes.map(({ opType }) => opType));
  expect(kinds(graph).has('Pad')).toBe(false);
  expect(kinds(assemble(small({ head_dim: 10 }))).has('Pad')).toBe(true);
});

test('a window that the context never fills is left out', () => {
  const mistral = { model_type: 'mistral', architectures: ['MistralForCausalLM'] };
  const windowOf = (sliding_window: number) =>
    assemble(small({ ...mistral, sliding_window })).nodes.find(({ opType }) => opType === 'GroupQueryAttention')
      ?.attributes.local_window_size;
  expect(windowOf(63)).toEqual({ kind: 'int', value: 63 });
  expect(windowOf(64)).toEqual({ kind: 'int', value: -1 });
});
