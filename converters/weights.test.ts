/** A checkpoint's tensors must be exactly those that its config asks for. */
import { describe, expect, test } from 'vitest';
import { choosePrecision } from '../src/core/precision.ts';
import type { FileTensor } from '../src/core/tensor.ts';
import { checkpointOf, fileTensor, SMALL_CONFIG } from '../test/small-checkpoint.ts';
import { type DecoderConfig, readDecoderConfig } from './config/decoder-config.ts';
import { checkTensors, decoderTensors, weightsOf } from './weights.ts';

const FAMILY = {
  modelType: 'llama',
  className: 'LlamaForCausalLM',
  defaults: { max_position_embeddings: 64 },
  lacks: [],
};
const config = readDecoderConfig(checkpointOf(SMALL_CONFIG), FAMILY);

function tensorsOf(of: DecoderConfig): FileTensor[] {
  return decoderTensors(of).map(({ name, shape }) => fileTensor(name, shape));
}

function check(tensors: readonly FileTensor[]): void {
  checkTensors(checkpointOf(SMALL_CONFIG, tensors), decoderTensors(config));
}

/** The tensors with one of them changed. */
function changed(name: string, changes: Partial<FileTensor>): FileTensor[] {
  return tensorsOf(config).map((tensor) => (tensor.name === name ? { ...tensor, ...changes } : tensor));
}

function without(...names: string[]): FileTensor[] {
  return tensorsOf(config).filter((tensor) => !names.includes(tensor.name));
}

describe('decoderTensors', () => {
  test('lists nine a layer and three around them, with shapes from the config', () => {
    const expected = new Map(decoderTensors(config).map(({ name, shape }) => [name, shape]));
    expect(expected.size).toBe(2 * 9 + 3);
    // Heads are 32 / 4 = 8 wide; 4 queries and 2 keys.
    expect(expected.get('model.layers.1.self_attn.q_proj.weight')).toEqual([32, 32]);
    expect(expected.get('model.layers.1.self_attn.k_proj.weight')).toEqual([16, 32]);
    expect(expected.get('model.layers.0.mlp.down_proj.weight')).toEqual([32, 6]);
    expect(expected.get('lm_head.weight')).toEqual([10, 32]);
  });

  test('asks for no head when it is shared, and for biases where the config has them', () => {
    const names = decoderTensors({
      ...config,
      sharesHead: true,
      biases: new Set(['qkv', 'attention_output', 'ffn'] as const),
    });
    expect(names.map((tensor) => tensor.name)).not.toContain('lm_head.weight');
    expect(names).toHaveLength(2 * (9 + 7) + 2);
    expect(names).toContainEqual({ name: 'model.layers.0.self_attn.v_proj.bias', shape: [16] });
    expect(names).toContainEqual({ name: 'model.layers.0.mlp.up_proj.bias', shape: [6] });
  });

  test.each([
    ['qkv', ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj']],
    ['attention_output', ['self_attn.o_proj']],
    ['ffn', ['mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj']],
  ] as const)('asks for biases of %s alone where only those are', (biased, layers) => {
    const names = decoderTensors({ ...config, biases: new Set([biased]) }).map(({ name }) => name);
    const biases = names.filter((name) => name.endsWith('.bias'));
    expect(biases).toEqual([0, 1].flatMap((layer) => layers.map((name) => `model.layers.${layer}.${name}.bias`)));
  });
});

describe('checkTensors', () => {
  test('accepts exactly those, and buffers that follow from the config', () => {
    check(tensorsOf(config));
    check([
      ...tensorsOf(config),
      fileTensor('model.layers.0.self_attn.rotary_emb.inv_freq', [4]),
      fileTensor('model.rotary_emb.inv_freq', [4]),
    ]);
  });

  test('names every missing tensor', () => {
    expect(() => check(without('model.norm.weight', 'model.layers.1.mlp.up_proj.weight'))).toThrow(
      expect.objectContaining({
        code: 'not-found',
        message:
          'The tensors of model do not fit its config.json:\n' +
          '  missing: model.layers.1.mlp.up_proj.weight\n  missing: model.norm.weight',
      }),
    );
  });

  test('a missing head says how to share it', () => {
    expect(() => check(without('lm_head.weight'))).toThrow(
      expect.objectContaining({
        code: 'not-found',
        message: expect.stringContaining('missing: lm_head.weight'),
        hint: expect.stringContaining('"tie_word_embeddings": true'),
      }),
    );
  });

  test('a wrong shape is told with the right one', () => {
    expect(() => check(changed('model.layers.0.self_attn.k_proj.weight', { shape: [32, 32] }))).toThrow(
      expect.objectContaining({
        code: 'mismatch',
        message: expect.stringContaining('model.layers.0.self_attn.k_proj.weight is [32,32], the config says [16,32]'),
      }),
    );
  });

  test('a tensor that nothing uses is an error', () => {
    const bias = fileTensor('model.layers.0.self_attn.q_proj.bias', [32]);
    expect(() => check([...tensorsOf(config), bias])).toThrow(
      expect.objectContaining({ code: 'mismatch', message: expect.stringContaining(`used by nothing: ${bias.name}`) }),
    );
  });

  test('weights that are no floats are not supported', () => {
    expect(() => check(changed('model.norm.weight', { dtype: 'float8e4m3' }))).toThrow(
      expect.objectContaining({
        code: 'unsupported',
        message: expect.stringContaining('model.norm.weight is float8e4m3'),
      }),
    );
  });

  test('problems of all kinds come together, the first twenty by name', () => {
    const [first, ...rest] = changed('model.norm.weight', { shape: [31], dtype: 'int8' });
    const extra = Array.from({ length: 20 }, (_, i) => fileTensor(`extra.${i}`, [1]));
    const error = expect.objectContaining({
      code: 'mismatch',
      // 1 missing, 1 shape, 20 unused, 1 type: 23, of which 20 are named.
      message: expect.stringMatching(
        new RegExp(
          `missing: ${first.name}[\\s\\S]*shape: model.norm.weight is \\[31\\][\\s\\S]*extra.17\n {2}and 3 more$`,
        ),
      ),
    });
    expect(() => check([...rest, ...extra])).toThrow(error);
  });
});

test('weights are cast to float32 on the way, and unknown names refused', () => {
  const weights = weightsOf(checkpointOf(SMALL_CONFIG, tensorsOf(config)).tensors, {
    precision: choosePrecision('fp32'),
  });
  const norm = weights('model.norm.weight');
  expect(norm).toMatchObject({ name: 'model.norm.weight', data: { kind: 'cast', dtype: 'float32', shape: [32] } });
  expect(() => weights('model.nothing')).toThrow(expect.objectContaining({ code: 'not-found' }));
});
