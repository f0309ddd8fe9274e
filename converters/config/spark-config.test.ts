/** What a Spark Transformer's config says, and every reason to refuse it. */
import { describe, expect, test } from 'vitest';
import { checkpointOf } from '../../test/small-checkpoint.ts';
import { modelLayout, openModel } from '../index.ts';
import { readDecoderConfig } from './decoder-config.ts';
import { SPARK_FIELDS } from './spark-config.ts';

const CONFIG = {
  model_type: 'spark',
  architectures: ['SparkForCausalLM'],
  vocab_size: 10,
  hidden_size: 64,
  intermediate_size: 100,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  max_position_embeddings: 128,
  ffn_predictor_size: 32,
  ffn_active_neurons: 8,
  attention_predictor_size: 8,
  attended_tokens: 16,
};

const checkpoint = (changes: object) => checkpointOf({ ...CONFIG, ...changes });
const layoutOf = (changes: object) => modelLayout(checkpoint(changes));

test('about k gates are above mean + deviation * Q(1 - k / d)', () => {
  // Q(0.92) = 1.40507156 (Abramowitz and Stegun, table 26.1); float32 has steps of 1.2e-7 there.
  for (const { gateQuantile } of layoutOf({}).layers) expect(gateQuantile).toBeCloseTo(1.40507156, 6);
});

test('FFN and attention may each be dense', () => {
  const dense = { attention_predictor_size: null, attended_tokens: undefined };
  expect(layoutOf(dense).layers[0].gateQuantile).toBeDefined();
  expect(layoutOf({ ffn_predictor_size: null, ffn_active_neurons: null }).layers[0].gateQuantile).toBeUndefined();
});

test('a field may be at the end of its range', () => {
  for (const changes of [
    { ffn_predictor_size: 1 },
    { ffn_predictor_size: 63 },
    { ffn_active_neurons: 1 },
    { ffn_active_neurons: 99 },
    { attention_predictor_size: 2 },
    { attention_predictor_size: 14 },
    { attended_tokens: 1 },
    { attended_tokens: 128 },
  ])
    expect(() => layoutOf(changes)).not.toThrow();
});

describe('refused', () => {
  test.each([
    [{ ffn_active_neurons: 0 }, 'ffn_active_neurons is 0, wanted 1 to 99: intermediate_size is 100'],
    [{ ffn_active_neurons: 100 }, 'ffn_active_neurons is 100, wanted 1 to 99'],
    [{ ffn_active_neurons: 8.5 }, 'ffn_active_neurons: Invalid input: expected int'],
    [{ ffn_active_neurons: [8, 8] }, 'ffn_active_neurons: Invalid input: expected number, received array'],
    [{ ffn_predictor_size: 0 }, 'ffn_predictor_size is 0, wanted 1 to 63: hidden_size is 64'],
    [{ ffn_predictor_size: 64 }, 'ffn_predictor_size is 64, wanted 1 to 63'],
    [{ attended_tokens: 0 }, 'attended_tokens is 0, wanted 1 to 128: max_position_embeddings is 128'],
    [{ attended_tokens: 129 }, 'attended_tokens is 129, wanted 1 to 128'],
    [{ attention_predictor_size: 0 }, 'attention_predictor_size is 0, wanted 1 to 15: heads are 16 wide'],
    [{ attention_predictor_size: 16 }, 'attention_predictor_size is 16, wanted 1 to 15'],
    [{ attention_predictor_size: 7 }, 'attention_predictor_size is 7, and rotary positions turn pairs of its entries'],
    [{ ffn_predictor_size: undefined }, 'it has ffn_active_neurons and no ffn_predictor_size'],
    [{ attended_tokens: null }, 'it has attention_predictor_size and no attended_tokens'],
    [
      Object.fromEntries(SPARK_FIELDS.map((field) => [field, undefined])),
      'a Spark Transformer has at least one of ffn_predictor_size and attention_predictor_size',
    ],
  ])('%j', (changes, problem) => {
    expect(() => layoutOf(changes)).toThrow(
      expect.objectContaining({ code: 'bad-file', message: expect.stringContaining(problem) }),
    );
  });

  test.each([
    [{ sliding_window: 8 }, 'sliding_window = 8: this architecture has no such thing'],
    [{ query_pre_attn_scalar: 8 }, 'query_pre_attn_scalar = 8'],
  ])('%j, which is not built', (changes, problem) => {
    expect(() => layoutOf(changes)).toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringContaining(problem) }),
    );
  });

  test.each(SPARK_FIELDS)('%s of a checkpoint that is no Spark Transformer', (field) => {
    const llama = { ...CONFIG, model_type: 'llama', architectures: ['LlamaForCausalLM'] };
    const others = Object.fromEntries(SPARK_FIELDS.map((one) => [one, one === field ? CONFIG[one] : undefined]));
    const family = { modelType: 'llama', className: 'LlamaForCausalLM', defaults: {}, lacks: [] };
    expect(() => readDecoderConfig(checkpointOf({ ...llama, ...others }), family)).toThrow(
      expect.objectContaining({
        code: 'unsupported',
        message: expect.stringContaining(`${field} = ${CONFIG[field]}: `),
      }),
    );
  });

  test('a part of x that ends within a block, in precisions with blocks', () => {
    const open = (precision: 'int4' | 'fp32') => () => openModel(checkpoint({ ffn_predictor_size: 24 }), { precision });
    expect(open('int4')).toThrow(
      expect.objectContaining({
        code: 'unsupported',
        message: expect.stringContaining(
          'gates read 24 of 64 entries, and both parts would have to be multiples of 32',
        ),
        hint: expect.stringContaining('--dtype fp32, fp16 or bf16'),
      }),
    );
    // Its tensors are missing, which is found first.
    expect(open('fp32')).toThrow(expect.objectContaining({ code: 'not-found' }));
  });
});
