/** What the Gemma converters read from configs and tensors, and how they build graphs. */
import { describe, expect, test } from 'vitest';
import type { Node } from '../src/core/graph.ts';
import { POST_NORM_TAPS, TAPS, tapName } from '../src/core/model.ts';
import { checkpointOf, fileTensor } from '../test/small-checkpoint.ts';
import { assemble } from './assemble.ts';
import { type Family, readDecoderConfig } from './config/decoder-config.ts';
import { gemma3Family } from './gemma3.ts';
import { hostConfig, openModel } from './index.ts';
import { decoderTensors } from './weights.ts';

const SMALL = {
  vocab_size: 10,
  hidden_size: 32,
  intermediate_size: 6,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  max_position_embeddings: 64,
  sliding_window: 8,
};

function read(changes: object, family: Family = gemma3Family) {
  return readDecoderConfig(checkpointOf({ ...SMALL, ...changes }), family);
}

/** A checkpoint of Gemma 3's text model, with tensors called `prefix` and then what follows `model.`. */
function tensorsOf(changes: object = {}, prefix = 'model.') {
  return decoderTensors(read(changes)).map(({ name, shape }) => fileTensor(name.replace(/^model\./, prefix), shape));
}

const TEXT = { ...SMALL, model_type: 'gemma3_text', architectures: ['Gemma3ForCausalLM'] };

function openSmall(changes: object = {}) {
  const config = { ...TEXT, layer_types: ['sliding_attention', 'full_attention'], ...changes };
  return openModel(checkpointOf(config, tensorsOf(changes)), { precision: 'fp32' });
}

test('an empty config of Gemma 3 is that of Transformers', () => {
  const config = readDecoderConfig(checkpointOf({}), gemma3Family);
  expect(config.spec).toEqual({
    modelType: 'gemma3_text',
    architecture: 'Gemma3ForCausalLM',
    numHiddenLayers: 26,
    hiddenSize: 2304,
    intermediateSize: 9216,
    vocabSize: 262_208,
    numAttentionHeads: 8,
    numKeyValueHeads: 4,
    headDim: 256,
    contextLength: 131_072,
    hiddenAct: 'gelu_tanh',
    bosTokenId: 2,
    eosTokenIds: [1],
  });
  expect(config).toMatchObject({ attentionScale: 1 / 16, sharesHead: true, rmsNormEps: 1e-6 });
  expect([config.attentionSoftcap, config.logitSoftcap]).toEqual([undefined, undefined]);
  expect(config.layers.map(({ slidingWindow }) => slidingWindow ?? 0)).toEqual(
    Array.from({ length: 26 }, (_, layer) => ([5, 11, 17, 23].includes(layer) ? 0 : 4096)),
  );
  expect(config.ropes).toEqual({
    'rotary.global': { kind: 'default', theta: 1_000_000 },
    'rotary.local': { kind: 'default', theta: 10_000 },
  });
});

describe('positions of Gemma 3', () => {
  const layer_types = ['sliding_attention', 'full_attention'];
  const linear = { rope_type: 'linear', factor: 8 };

  test('rope_scaling is for full attention alone', () => {
    expect(read({ layer_types, rope_theta: 5e5, rope_local_base_freq: 2e4, rope_scaling: linear }).ropes).toEqual({
      'rotary.global': { kind: 'linear', theta: 5e5, factor: 8 },
      'rotary.local': { kind: 'default', theta: 2e4 },
    });
  });

  test('rope_parameters by kind of layer; bases not in them are the defaults', () => {
    const rope_parameters = { full_attention: linear, sliding_attention: { rope_theta: 3e4 } };
    expect(read({ layer_types, rope_parameters }).ropes).toEqual({
      'rotary.global': { kind: 'linear', theta: 1e6, factor: 8 },
      'rotary.local': { kind: 'default', theta: 3e4 },
    });
  });

  test('tables that no layer reads are not made', () => {
    expect(Object.keys(read({ layer_types: Array(2).fill('full_attention') }).ropes)).toEqual(['rotary.global']);
  });

  test.each([
    ['bad-file', { rope_parameters: { rope_theta: 1e4 } }, 'rope_parameters: Unrecognized key: "rope_theta"'],
    ['bad-file', { rope_local_base_freq: 0 }, 'rope_local_base_freq: Too small'],
    ['unsupported', { rope_scaling: { type: 'linear', factor: 8 } }, 'rope_scaling.type without rope_type'],
    [
      'unsupported',
      { rope_scaling: { rope_type: 'yarn', factor: 8, truncate: false } },
      'rope_scaling.truncate = false: not read where positions are by kind of layer',
    ],
    [
      'unsupported',
      { rope_parameters: { full_attention: { rope_type: 'yarn', factor: 8, truncate: null } } },
      'rope_parameters.full_attention.truncate = null: not read',
    ],
    [
      'unsupported',
      { rope_parameters: { sliding_attention: { rope_type: 'longrope' } } },
      'rope_parameters.sliding_attention is of type "longrope"',
    ],
    [
      'bad-file',
      { rope_scaling: linear, rope_parameters: { full_attention: { rope_type: 'default' } } },
      'has rope_scaling {"rope_type":"linear","factor":8} and rope_parameters.full_attention',
    ],
  ])('%s: %j', (code, changes, problem) => {
    expect(() => read(changes)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(problem) }));
  });
});

describe('features that are not built are refused by name', () => {
  test.each([
    [{ use_bidirectional_attention: true }, 'use_bidirectional_attention = true'],
    // Transformers' config has the field, but its Gemma 3 does not compute it.
    [{ attn_logit_softcapping: 50 }, 'attn_logit_softcapping = 50: this architecture has no such thing'],
    [{ hidden_activation: 'quick_gelu' }, 'hidden_activation = "quick_gelu": not one of silu'],
    [{ layer_types: ['full_attention', 'linear_attention'] }, 'layer_types = ["full_attention","linear_attention"]'],
    [{ num_experts: 8 }, 'num_experts = 8'],
    [{ mlp_bias: true }, 'mlp_bias = true'],
  ])('%j', (changes, named) => {
    expect(() => read(changes)).toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringContaining(`\n  ${named}`) }),
    );
  });
});

test('hidden_activation is read, hidden_act is not', () => {
  expect(read({ hidden_activation: 'silu', hidden_act: 'mish' }).activation).toBe('silu');
});

test('the checkpoint has thirteen tensors a layer, four of them norms of the stream and two of heads', () => {
  const expected = new Map(decoderTensors(read({})).map(({ name, shape }) => [name, shape]));
  expect(expected.size).toBe(2 * 13 + 2);
  expect(expected.get('model.layers.1.self_attn.k_norm.weight')).toEqual([16]);
  expect(expected.get('model.layers.0.pre_feedforward_layernorm.weight')).toEqual([32]);
  expect(expected.get('model.layers.0.post_feedforward_layernorm.weight')).toEqual([32]);
});

describe('the graph', () => {
  const graph = assemble(openSmall({ query_pre_attn_scalar: 25, final_logit_softcapping: 3 }));
  const made = new Map(graph.nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)));
  const maker = (name: string): Node => made.get(name) ?? expect.fail(`nothing makes ${name}`);

  test('has all taps; ffn_out is the norm of down', () => {
    for (const tap of [...TAPS, ...POST_NORM_TAPS]) for (const layer of [0, 1]) maker(tapName(layer, tap));
    expect(maker('layers.1.down').opType).toBe('FusedMatMul');
    expect(maker('layers.1.ffn_out')).toMatchObject({
      opType: 'SimplifiedLayerNormalization',
      inputs: ['layers.1.down', 'model.layers.1.post_feedforward_layernorm.weight'],
    });
    expect(maker('hidden.2')).toMatchObject({ opType: 'Add', inputs: ['layers.1.ffn_residual', 'layers.1.ffn_out'] });
  });

  test('attends as each layer does, with that layer’s positions', () => {
    const attentions = graph.nodes.filter(({ opType }) => opType === 'GroupQueryAttention');
    expect(attentions.map(({ attributes, inputs }) => [attributes.local_window_size, ...inputs.slice(7)])).toEqual([
      [{ kind: 'int', value: 8 }, 'rotary.local.cos', 'rotary.local.sin'],
      [{ kind: 'int', value: -1 }, 'rotary.global.cos', 'rotary.global.sin'],
    ]);
    for (const { attributes } of attentions) {
      expect(attributes.scale).toEqual({ kind: 'float', value: 1 / 5 });
      expect(attributes.softcap).toBeUndefined();
    }
  });

  test('adds one to every norm, in float32, and to no other weight', () => {
    const kinds = graph.initializers.map(({ name, data }) => [name.endsWith('norm.weight'), data.kind === 'add']);
    expect(kinds.filter(([isNorm]) => isNorm)).toHaveLength(2 * 6 + 1);
    for (const [isNorm, adds] of kinds) expect(adds).toBe(isNorm);
  });

  test('scales the embedding but not the head that shares it', () => {
    expect(maker('hidden.0').opType).toBe('Mul');
    const readers = graph.nodes.filter(({ inputs }) => inputs.includes('model.embed_tokens.weight'));
    expect(readers.map(({ opType }) => opType)).toEqual(['Gather', 'FusedMatMul']);
    expect(maker('logits').opType).toBe('Mul');
  });
});

describe('Gemma 3 with a vision tower', () => {
  const { num_attention_heads: _, num_key_value_heads: __, ...textConfig } = SMALL;
  const config = {
    model_type: 'gemma3',
    architectures: ['Gemma3ForConditionalGeneration'],
    eos_token_id: [1, 7],
    text_config: textConfig,
    vision_config: {},
  };
  const vision = ['vision_tower.vision_model.embeddings.weight', 'multi_modal_projector.weight'];
  const open = (tensors: ReturnType<typeof tensorsOf>, changes: object = {}) =>
    openModel(checkpointOf({ ...config, ...changes }, tensors), { precision: 'fp32' });
  const text = (prefix: string) =>
    decoderTensors(readDecoderConfig(checkpointOf(textConfig), gemma3Family)).map(({ name, shape }) =>
      fileTensor(name.replace(/^model\./, prefix), shape),
    );

  test.each([
    ['language_model.model.', ''],
    ['model.language_model.', 'model.'],
  ])('opens its text model under %s, with what Transformers takes for fields not given', (prefix, visionPrefix) => {
    const tensors = [...text(prefix), ...vision.map((name) => fileTensor(`${visionPrefix}${name}`, [3]))];
    const pieces = open(tensors);
    expect(pieces.spec).toMatchObject({
      modelType: 'gemma3_text',
      architecture: 'Gemma3ForCausalLM',
      numAttentionHeads: 8,
      numKeyValueHeads: 4,
      eosTokenIds: [1, 7],
    });
    expect(pieces.notes).toEqual([
      'Only the text model is converted: 2 tensors of the vision tower and its projector are left out.',
    ]);
    expect(open(text(prefix)).notes).toEqual([]);
  });

  test('other tensors are errors as ever, and so is one under two names', () => {
    const extra = fileTensor('audio_tower.weight', [3]);
    expect(() => open([...text('language_model.model.'), extra])).toThrow(
      expect.objectContaining({ code: 'mismatch', message: expect.stringContaining('audio_tower.weight') }),
    );
    const twice = fileTensor('model.language_model.norm.weight', [32]);
    expect(() => open([...text('language_model.model.'), twice])).toThrow(
      'one tensor under two names: language_model.model.norm.weight and model.language_model.norm.weight',
    );
  });

  test('what is said of the whole is heeded: quantisation, and no soft cap', () => {
    const tensors = text('language_model.model.');
    expect(() => open(tensors, { quantization_config: { bits: 4 } })).toThrow('quantization_config = {"bits":4}');
    const text_config = { ...textConfig, final_logit_softcapping: 30 };
    expect(() => open(tensors, { text_config })).toThrow('final_logit_softcapping = 30: this architecture has no such');
    expect(() => open(tensors, { text_config: [] })).toThrow(
      expect.objectContaining({ code: 'bad-file', message: expect.stringContaining('text_config []') }),
    );
  });

  test('hosts are told of a text model, with every field they need', () => {
    expect(hostConfig({ ...config, torch_dtype: 'bfloat16' })).toMatchObject({
      model_type: 'gemma3_text',
      architectures: ['Gemma3ForCausalLM'],
      hidden_size: 32,
      num_attention_heads: 8,
      head_dim: 16,
      tie_word_embeddings: true,
      torch_dtype: 'bfloat16',
    });
    expect(hostConfig(config)).not.toHaveProperty('vision_config');
    expect(hostConfig(TEXT)).toBe(TEXT);
  });
});
