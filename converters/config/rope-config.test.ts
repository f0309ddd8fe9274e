/** Both styles of rotary configuration, and what is refused. */
import { describe, expect, test } from 'vitest';
import { readRopeConfig } from './rope-config.ts';

const read = (config: object) => readRopeConfig(config, 8192, 'model');

const LLAMA3 = {
  rope_type: 'llama3',
  factor: 32,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
};

test.each([
  ['nothing', {}, { kind: 'default', theta: 10_000 }],
  ['an old theta', { rope_theta: 500_000, rope_scaling: null }, { kind: 'default', theta: 500_000 }],
  ['a new theta', { rope_parameters: { rope_type: 'default', rope_theta: 5e5 } }, { kind: 'default', theta: 5e5 }],
  [
    'the theta beside and inside: the inner',
    { rope_theta: 7, rope_parameters: { rope_theta: 9 } },
    { kind: 'default', theta: 9 },
  ],
  [
    '`type` of the first days',
    { rope_scaling: { type: 'linear', factor: 2 } },
    { kind: 'linear', theta: 10_000, factor: 2 },
  ],
  [
    'rope_type before type',
    { rope_scaling: { type: 'linear', rope_type: 'dynamic', factor: 2 } },
    { kind: 'dynamic', theta: 10_000 },
  ],
  [
    'Llama 3.1, old',
    { rope_theta: 5e5, rope_scaling: LLAMA3 },
    { kind: 'llama3', theta: 5e5, factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 },
  ],
  [
    'Llama 3.1, new',
    { rope_parameters: { ...LLAMA3, rope_theta: 5e5, original_max_position_embeddings: 4096 } },
    { kind: 'llama3', theta: 5e5, factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 4096 },
  ],
  [
    'the original length beside: it goes first',
    { original_max_position_embeddings: 2048, rope_scaling: LLAMA3 },
    { kind: 'llama3', theta: 1e4, factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 2048 },
  ],
])('%s', (_, config, rope) => {
  expect(read(config)).toEqual(rope);
});

describe('yarn', () => {
  const yarn = (parameters: object) => read({ rope_scaling: { type: 'yarn', ...parameters } });

  test('takes its paper’s values by default', () => {
    expect(yarn({ factor: 16, finetuned: true })).toEqual({
      kind: 'yarn',
      theta: 10_000,
      factor: 16,
      attentionFactor: 0.1 * Math.log(16) + 1,
      betaFast: 32,
      betaSlow: 1,
      truncate: true,
      originalMaxPositions: 8192,
    });
  });

  test('takes the factor from the two lengths when none is given', () => {
    expect(yarn({ factor: null, original_max_position_embeddings: 2048 })).toMatchObject({ factor: 4 });
  });

  test('rounds the range of dimensions unless told not to; null counts as told, as in Transformers', () => {
    const truncates = [{}, { truncate: true }, { truncate: false }, { truncate: null }].map((given) =>
      yarn({ factor: 16, ...given }),
    );
    expect(truncates.map((rope) => 'truncate' in rope && rope.truncate)).toEqual([true, true, false, false]);
  });

  test('takes the given attention factor, or the ratio of two scales', () => {
    expect(yarn({ factor: 16, attention_factor: 1.1 })).toMatchObject({ attentionFactor: 1.1 });
    // Transformers 5.24 for factor 40, mscale 1, mscale_all_dim 0.75: (0.1 ln 40 + 1) / (0.075 ln 40 + 1).
    expect(yarn({ factor: 40, mscale: 1, mscale_all_dim: 0.75 })).toMatchObject({
      attentionFactor: (0.1 * Math.log(40) + 1) / (0.075 * Math.log(40) + 1),
    });
    expect(yarn({ factor: 1 })).toMatchObject({ attentionFactor: 1 });
  });
});

describe('refusals', () => {
  test.each([
    ['unsupported', { rope_scaling: { type: 'longrope', factor: 2 } }, 'rope_scaling is of type "longrope"'],
    ['unsupported', { rope_parameters: { rope_type: 'mrope' } }, 'rope_parameters is of type "mrope"'],
    ['unsupported', { rope_scaling: { type: 7 } }, 'rope_scaling is of type 7'],
    [
      'unsupported',
      { rope_parameters: { full_attention: { rope_theta: 1e4 } } },
      'rope_parameters.full_attention = {"rope_theta":10000}: not a parameter of "default" positions',
    ],
    [
      'unsupported',
      { rope_scaling: { rope_type: 'linear', factor: 2, partial_rotary_factor: 0.25 } },
      'partial_rotary_factor = 0.25: positions on part of each head',
    ],
    ['bad-file', { rope_scaling: { type: 'linear' } }, 'rope_scaling.factor: Invalid input'],
    ['bad-file', { rope_scaling: { type: 'linear', factor: -2 } }, 'rope_scaling.factor: Too small'],
    [
      'bad-file',
      { rope_scaling: { ...LLAMA3, high_freq_factor: 1 } },
      'high_freq_factor must be above low_freq_factor',
    ],
    ['bad-file', { rope_theta: 1 }, 'rope_theta: Too small: expected number to be >1; got 1'],
    ['bad-file', { rope_scaling: 'linear' }, 'rope_scaling: Invalid input'],
    [
      'bad-file',
      { rope_scaling: { type: 'linear', factor: 2 }, rope_parameters: { rope_type: 'default' } },
      'which differ',
    ],
  ])('%s: %j', (code, config, problem) => {
    expect(() => read(config)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(problem) }));
  });

  test('an unknown type says which are built', () => {
    expect(() => read({ rope_scaling: { type: 'su' } })).toThrow(
      expect.objectContaining({ hint: 'Types that are built: default, linear, llama3, dynamic, yarn.' }),
    );
  });
});
