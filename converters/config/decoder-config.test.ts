/** What a decoder's config says, and every reason to refuse it. */
import { describe, expect, test } from 'vitest';
import { checkpointOf, fileTensor, SMALL_CONFIG } from '../../test/small-checkpoint.ts';
import { type Family, readDecoderConfig } from './decoder-config.ts';

const FAMILY: Family = {
  modelType: 'llama',
  className: 'LlamaForCausalLM',
  defaults: { max_position_embeddings: 2048 },
  lacks: ['sliding_window'],
};
const MISTRAL: Family = {
  modelType: 'mistral',
  className: 'MistralForCausalLM',
  defaults: { num_key_value_heads: 8, max_position_embeddings: 131_072, sliding_window: 4096 },
  lacks: ['attention_bias', 'mlp_bias'],
};

function read(changes: object, family = FAMILY, generation?: object) {
  return readDecoderConfig(checkpointOf({ ...SMALL_CONFIG, ...changes }, [], generation), family);
}

describe('defaults are those of Transformers', () => {
  test('of LLaMA', () => {
    expect(read({ num_key_value_heads: undefined })).toEqual({
      spec: {
        modelType: 'llama',
        architecture: 'LlamaForCausalLM',
        numHiddenLayers: 2,
        hiddenSize: 32,
        intermediateSize: 6,
        vocabSize: 10,
        numAttentionHeads: 4,
        numKeyValueHeads: 4,
        headDim: 8,
        contextLength: 2048,
        hiddenAct: 'silu',
        bosTokenId: 1,
        eosTokenIds: [2],
      },
      activation: 'silu',
      activationThreshold: undefined,
      rmsNormEps: 1e-6,
      biases: new Set(),
      sharesHead: false,
      attentionScale: 8 ** -0.5,
      attentionSoftcap: undefined,
      logitSoftcap: undefined,
      layers: Array(2).fill({ slidingWindow: undefined, rope: 'rotary' }),
      ropes: { rotary: { kind: 'default', theta: 10_000 } },
      traits: {
        addsOneToNorms: false,
        scalesEmbeddings: false,
        normsHeads: false,
        normsValues: false,
        normsOutputs: false,
        activatesUp: false,
      },
    });
  });

  test('of Mistral: a window unless it is null, eight keys unless told', () => {
    const { num_key_value_heads: _, ...rest } = SMALL_CONFIG;
    const config = { ...rest, num_attention_heads: 16, hidden_size: 64 };
    const readMistral = (changes: object) => readDecoderConfig(checkpointOf({ ...config, ...changes }), MISTRAL);
    expect(readMistral({}).layers[1].slidingWindow).toBe(4096);
    expect(readMistral({}).spec).toMatchObject({ numKeyValueHeads: 8, contextLength: 131_072 });
    expect(readMistral({ sliding_window: null }).layers[1].slidingWindow).toBeUndefined();
    expect(readMistral({ num_key_value_heads: null }).spec.numKeyValueHeads).toBe(16);
  });
});

test('fields that do not change the model are allowed', () => {
  const harmless = {
    rope_interleaved: false,
    is_llama_config: true,
    attention_dropout: 0.1,
    pretraining_tp: 1,
    torch_dtype: 'float32',
    sliding_window: null,
    quantization_config: null,
    layer_types: ['full_attention', 'full_attention'],
    'transformers.js_config': {},
    _name_or_path: '/x',
  };
  expect(read(harmless)).toEqual(read({}));
});

test('heads may be wider or narrower than hidden_size / heads', () => {
  expect(read({ head_dim: 24 }).spec.headDim).toBe(24);
  expect(read({ hidden_size: 30, head_dim: 2 }).spec.headDim).toBe(2);
});

test.each([
  ['silu', 'silu'],
  ['swish', 'silu'],
  ['gelu', 'gelu'],
  ['gelu_new', 'gelu_tanh'],
  ['gelu_pytorch_tanh', 'gelu_tanh'],
  ['relu', 'relu'],
])('hidden_act %s is %s', (given, name) => {
  expect(read({ hidden_act: given }).activation).toBe(name);
});

describe('special tokens', () => {
  test('generation_config goes before config', () => {
    const generation = { bos_token_id: 5, eos_token_id: [6, 7] };
    expect(read({ eos_token_id: 3 }, FAMILY, generation).spec).toMatchObject({ bosTokenId: 5, eosTokenIds: [6, 7] });
    expect(read({ eos_token_id: 3 }, FAMILY, {}).spec).toMatchObject({ bosTokenId: 1, eosTokenIds: [3] });
  });

  test('a token for padding is there only where one is given', () => {
    expect(read({}).spec).not.toHaveProperty('padTokenId');
    expect(read({ pad_token_id: -1 }).spec).not.toHaveProperty('padTokenId');
    expect(read({ pad_token_id: 0 }).spec.padTokenId).toBe(0);
    expect(read({ pad_token_id: 0 }, FAMILY, { pad_token_id: 4 }).spec.padTokenId).toBe(4);
  });

  test('null is none', () => {
    expect(read({ eos_token_id: null, bos_token_id: null }).spec).toMatchObject({
      bosTokenId: undefined,
      eosTokenIds: [],
    });
  });
});

describe('the head', () => {
  const tied = { ...SMALL_CONFIG, tie_word_embeddings: true };

  test('is shared when the config ties it', () => {
    expect(readDecoderConfig(checkpointOf(tied), FAMILY).sharesHead).toBe(true);
  });

  test('is its own when the checkpoint has a tensor for it all the same', () => {
    const lmHead = fileTensor('lm_head.weight', [10, 32]);
    expect(readDecoderConfig(checkpointOf(tied, [lmHead]), FAMILY).sharesHead).toBe(false);
  });
});

describe('features that are not built are refused by name', () => {
  test.each([
    [{ quantization_config: { quant_method: 'gptq' } }, 'quantization_config = {"quant_method":"gptq"}'],
    [{ quantization: { bits: 4 } }, 'quantization = {"bits":4}'],
    [{ pretraining_tp: 2 }, 'pretraining_tp = 2'],
    [{ attn_logit_softcapping: 50 }, 'attn_logit_softcapping = 50'],
    [{ final_logit_softcapping: 30 }, 'final_logit_softcapping = 30'],
    [{ query_pre_attn_scalar: 256 }, 'query_pre_attn_scalar = 256'],
    [{ embedding_multiplier: 12 }, 'embedding_multiplier = 12'],
    [{ logit_scale: 0.1 }, 'logit_scale = 0.1'],
    [{ rope_interleaved: true }, 'rope_interleaved = true'],
    [{ partial_rotary_factor: 0.5 }, 'partial_rotary_factor = 0.5'],
    [{ no_rope_layers: [1, 0] }, 'no_rope_layers = [1,0]'],
    [{ use_qk_norm: true }, 'use_qk_norm = true'],
    [{ num_local_experts: 8 }, 'num_local_experts = 8'],
    [{ is_causal: false }, 'is_causal = false'],
    [{ pruned_heads: { 0: [1] } }, 'pruned_heads = {"0":[1]}'],
    [{ sliding_window: 128 }, 'sliding_window = 128'],
    [{ layer_types: ['full_attention', 'sliding_attention'] }, 'layer_types = ["full_attention","sliding_attention"]'],
    [{ hidden_act: 'quick_gelu' }, 'hidden_act = "quick_gelu": not one of silu, swish, gelu'],
  ])('%j', (changes, named) => {
    expect(() => read(changes)).toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringContaining(`\n  ${named}`) }),
    );
  });

  test('all at once', () => {
    expect(() => read({ alibi: true, clip_qkv: 8, hidden_act: 'mish' })).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/alibi[\s\S]*clip_qkv[\s\S]*hidden_act/) }),
    );
  });

  test('biases of Mistral, which has none', () => {
    const mistral = { num_key_value_heads: 4, attention_bias: true };
    expect(() => read(mistral, MISTRAL)).toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('attention_bias = true') }),
    );
  });
});

describe('wrong values are bad files', () => {
  test.each([
    [{ vocab_size: undefined }, 'vocab_size: Invalid input: expected number, received undefined; got nothing'],
    [{ hidden_size: '32' }, 'hidden_size: Invalid input: expected number, received string; got "32"'],
    [{ num_hidden_layers: 0 }, 'num_hidden_layers: Too small'],
    [{ num_hidden_layers: 1025 }, 'num_hidden_layers: Too big: expected number to be <=1024; got 1025'],
    [{ hidden_size: 131_073 }, 'hidden_size: Too big'],
    [{ intermediate_size: 2 ** 21 }, 'intermediate_size: Too big'],
    [{ vocab_size: 2 ** 23 }, 'vocab_size: Too big'],
    [{ head_dim: 2048 }, 'head_dim: Too big'],
    [{ num_attention_heads: 8192 }, 'num_attention_heads: Too big'],
    [{ max_position_embeddings: 2 ** 23 }, 'max_position_embeddings: Too big'],
    [{ max_position_embeddings: 12.5 }, 'max_position_embeddings: Invalid input: expected int'],
    [{ rms_norm_eps: 0 }, 'rms_norm_eps: Too small'],
    [{ tie_word_embeddings: 'yes' }, 'tie_word_embeddings: Invalid input: expected boolean'],
    [{ eos_token_id: -1 }, 'eos_token_id'],
    [{ num_key_value_heads: 3 }, 'num_attention_heads 4 is no multiple of num_key_value_heads 3'],
    [{ hidden_size: 33 }, 'hidden_size 33 is no multiple of num_attention_heads 4, and head_dim is not given'],
    [{ head_dim: 7 }, 'heads are 7 wide, and rotary positions turn pairs'],
  ])('%j', (changes, problem) => {
    expect(() => read(changes)).toThrow(
      expect.objectContaining({ code: 'bad-file', message: expect.stringContaining(problem) }),
    );
  });

  test('in generation_config too, by its name', () => {
    expect(() => read({}, FAMILY, { eos_token_id: 'end' })).toThrow(
      expect.objectContaining({ code: 'bad-file', message: expect.stringContaining('generation_config.eos_token_id') }),
    );
  });
});
