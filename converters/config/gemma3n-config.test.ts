/** What a Gemma 3n's config says layer by layer, and every reason to refuse it. */
import { describe, expect, test } from 'vitest';
import { checkpointOf } from '../../test/small-checkpoint.ts';
import { gemma3nFamily } from '../gemma3n.ts';
import { surveyGemma3nConfig } from './gemma3n-config.ts';

const CONFIG = {
  model_type: 'gemma3n_text',
  architectures: ['Gemma3nForCausalLM'],
  vocab_size: 10,
  hidden_size: 32,
  intermediate_size: 16,
  num_hidden_layers: 5,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  max_position_embeddings: 64,
  num_kv_shared_layers: 0,
  vocab_size_per_layer_input: 8,
  hidden_size_per_layer_input: 4,
};

const [SLIDING, FULL] = ['sliding_attention', 'full_attention'];

function survey(changes: object) {
  return surveyGemma3nConfig(checkpointOf({ ...CONFIG, ...changes }), gemma3nFamily);
}

function read(changes: object) {
  const { config, problems } = survey(changes);
  expect(problems).toEqual([]);
  return config ?? expect.fail('no config');
}

describe('layer by layer', () => {
  test('every fifth layer attends to all tokens, and shared layers read the last of their kind before them', () => {
    const { layers, spec, attentionScale, logitSoftcap } = read({ num_hidden_layers: 11, num_kv_shared_layers: 5 });
    expect(layers.map(({ slidingWindow }) => slidingWindow === undefined)).toEqual(
      Array.from({ length: 11 }, (_, i) => i === 4 || i === 9),
    );
    expect(layers.map(({ cacheOf }) => cacheOf)).toEqual([...Array(6).fill(undefined), 5, 5, 5, 4, 5]);
    expect(spec.cacheLayers).toBe(6);
    expect({ attentionScale, logitSoftcap }).toEqual({ attentionScale: 1, logitSoftcap: 30 });
  });

  test('without a pattern, ten layers of more than ten cut 95 %', () => {
    const quantiles = (changes: object) => read(changes).layers.map(({ gateQuantile }) => gateQuantile);
    expect(quantiles({ num_hidden_layers: 10 })).toEqual(Array(10).fill(undefined));
    const [first, ...others] = quantiles({ num_hidden_layers: 12 });
    // Q(0.95) = 1.64485363 (Abramowitz and Stegun, table 26.1); float32 has steps of 1.2e-7 there.
    expect(first).toBeCloseTo(1.64485363, 6);
    expect(others).toEqual([...Array(9).fill(first), undefined, undefined]);
  });

  test('a pattern and sizes of FFNs are those of the layers', () => {
    const { layers, spec } = read({
      activation_sparsity_pattern: [0.5, 0, 0.95, 0, 0],
      intermediate_size: [16, 48, 16, 32, 8],
    });
    expect(layers.map(({ gateQuantile }) => gateQuantile === undefined)).toEqual([false, true, false, true, true]);
    expect(layers[0].gateQuantile).toBeCloseTo(0, 12);
    expect(spec).toMatchObject({ intermediateSize: 48, intermediateSizes: [16, 48, 16, 32, 8] });
    expect(read({ intermediate_size: Array(5).fill(24) }).spec).not.toHaveProperty('intermediateSizes');
  });
});

describe('refuses', () => {
  test.each<[string, object, RegExp]>([
    ['a pattern of another length', { activation_sparsity_pattern: [0.9] }, /pattern has 1 numbers.*layers is 5/],
    ['a pattern that leaves no neuron', { activation_sparsity_pattern: [0, 1, 0, 0, 0] }, /\[1\] = 1 leaves no neuron/],
    // Float32, in which the quantile is computed, has no number between it and 1.
    ['a share next to 1', { activation_sparsity_pattern: [0, 0, 1 - 1e-9, 0, 0] }, /\[2\] = 0.99.* leaves no neuron/],
    ['more neurons than there are', { activation_sparsity_pattern: [0, 0, 0, -0.1, 0] }, /= -0.1 leaves more neurons/],
    ['a pattern that is no list', { activation_sparsity_pattern: 0.9 }, /activation_sparsity_pattern: .*got 0.9/],
    ['sizes for other layers', { intermediate_size: [16, 16] }, /intermediate_size has 2 numbers/],
    ['a size of 0', { intermediate_size: [16, 16, 0, 16, 16] }, /intermediate_size.*got/],
    ['a stream that there is not', { altup_active_idx: 4 }, /altup_active_idx is 4, altup_num_inputs 4/],
    ['one stream', { altup_num_inputs: 1 }, /altup_num_inputs: /],
    ['no second embedding', { hidden_size_per_layer_input: 0 }, /hidden_size_per_layer_input: /],
    ['caches that all layers share', { num_kv_shared_layers: 5 }, /shared_layers is 5 of 5 layers, and no layer/],
    ['more shared layers than layers', { num_kv_shared_layers: 6 }, /shared_layers is 6 of 5 layers/],
    ['no owner of a kind', { num_kv_shared_layers: 1 }, /no layer before these attends to all tokens as layer 4/],
    [
      'no owner of a window',
      { num_kv_shared_layers: 1, layer_types: [FULL, FULL, FULL, FULL, SLIDING] },
      /no layer before these attends to a window as layer 4/,
    ],
  ])('%s', (_, changes, message) => {
    const { config, problems } = survey(changes);
    expect(config).toBeUndefined();
    expect(problems).toEqual([expect.objectContaining({ code: 'bad-file', message: expect.stringMatching(message) })]);
  });

  test('names everything at once', () => {
    const { problems } = survey({ laurel_rank: 0, hidden_size: 'wide', use_bidirectional_attention: true });
    const text = problems.map(({ message }) => message).join('\n');
    for (const field of ['laurel_rank', 'hidden_size', 'use_bidirectional_attention']) expect(text).toContain(field);
  });
});
