/** The manifest, the card and the genai config of a model folder. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../test/temporary.ts';
import type { Manifest, ManifestModel } from '../../core/manifest.ts';
import type { ModelSpec } from '../../core/model.ts';
import type { Plan } from '../../core/plan.ts';
import {
  choosePrecision,
  choosePrecisions,
  PRECISION_NAMES,
  type PrecisionName,
  type PrecisionOptions,
} from '../../core/precision.ts';
import { genaiConfig } from './genai-config.ts';
import { modelCard } from './model-card.ts';
import { baselineOf, calledOperators, readManifest } from './model-folder.ts';
import { modelFileOf, transformersJsConfig } from './transformers-js.ts';

const folder = temporaryFolder();

/** The start of a manifest with these models. */
function manifest(models: readonly object[]): string {
  return JSON.stringify({ format: 'lacuna.manifest', version: 1, lacuna: '0.1.0', models });
}

const spec: ModelSpec = {
  modelType: 'llama',
  architecture: 'LlamaForCausalLM',
  numHiddenLayers: 2,
  hiddenSize: 32,
  intermediateSize: 64,
  vocabSize: 10,
  numAttentionHeads: 4,
  numKeyValueHeads: 2,
  headDim: 8,
  contextLength: 128,
  hiddenAct: 'silu',
  bosTokenId: undefined,
  eosTokenIds: [2],
};

const plan: Plan = {
  format: 'lacuna.plan',
  version: 2,
  preset: 'ffn-skip',
  host: { kind: 'native' },
  model: { ...spec, fingerprint: '' },
  statistics: '',
  tensors: null,
  target: { kind: 'skipped-blocks', value: 0.25 },
  prefill: 'sparse',
  skipping: { warmUpTokens: 5, reArm: true },
  blocks: [],
};

describe('readManifest', () => {
  const holding = (name: string, content: string | undefined) => {
    mkdirSync(join(folder, name));
    if (content !== undefined) writeFileSync(join(folder, name, 'lacuna.json'), content);
    return join(folder, name);
  };

  it.each([
    ['a folder without one', undefined, 'not-found', /not a folder that Lacuna wrote/],
    ['no JSON', '{', 'bad-file', /is no JSON/],
    ['an array', '[]', 'bad-file', /must hold a JSON object/],
    ['another format', '{ "format": "x", "version": 1 }', 'bad-file', /lacuna\.json: format:/],
    ['no models', manifest([]), 'bad-file', /lacuna\.json: models:/],
    ['a model elsewhere', manifest([{ file: 'onnx/../../x.onnx' }]), 'bad-file', /lacuna\.json: models\.0\.file:/],
    ['another version', '{ "format": "lacuna.manifest", "version": 2 }', 'bad-file', /lacuna\.json: version:/],
  ])('refuses %s', async (name, content, code, message) => {
    await expect(readManifest(holding(name, content))).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
      hint: expect.any(String),
    });
  });

  it('says when there is no folder at all', async () => {
    await expect(readManifest(join(folder, 'nowhere'))).rejects.toThrow(/There is no folder .*nowhere/);
  });
});

describe('modelCard', () => {
  const model = (name: PrecisionName, onnxruntime = '>=1.21', options: PrecisionOptions = {}) => {
    return { file: 'onnx/model.onnx', precision: choosePrecision(name, options), onnxruntime };
  };

  it('says what was left out, and of which runtime the folder needs', () => {
    const card = modelCard({ spec, plan, models: [model('fp32', '>=1.24')] });
    expect(card).toContain('`ffn-skip` preset: about 25 % of the FFN blocks are left out');
    expect(card).toContain('ONNX Runtime 1.24 or newer');
    const prompts = 'Calls with several tokens, as prompts are read, leave out nothing';
    expect(card).not.toContain(prompts);
    expect(modelCard({ spec, plan: { ...plan, prefill: 'dense' }, models: [model('fp32')] })).toContain(prompts);
  });

  const dense = (...models: Parameters<typeof modelCard>[0]['models']) => modelCard({ spec, plan: null, models });

  it('says how weights are stored, and what that may have cost', () => {
    expect(dense(model('fp32'))).toContain('Nothing was left out');
    expect(dense(model('bf16'))).toContain('weights are bfloat16, which a runtime widens when it loads them');
    const nibbles = dense(model('int4', '>=1.23', { asymmetric: true }));
    expect(nibbles).toContain(
      '`onnx/model.onnx`, int4: weights are 4-bit in blocks of 32 with zero points, embedding and head int8; the cache is float32',
    );
    expect(nibbles).toContain('`lacuna eval . --against FP32-DIR`');
    expect(nibbles).not.toContain('file_name');
    const calibratedOn = [{ name: 'fit.txt', sha256: '', tokens: 512 }];
    expect(dense({ ...model('int4'), rounding: 'search', calibratedOn })).toContain(
      'float32; rounding errors were weighed by the sizes of their inputs on 512 tokens of fit.txt; ONNX Runtime',
    );
  });

  it('of several models names each, and how hosts choose', () => {
    const card = dense(model('fp32'), { ...model('int4'), file: 'onnx/model_q4.onnx' });
    expect(card).toMatch(/`onnx\/model.onnx`, fp32: .*\n- `onnx\/model_q4.onnx`, int4: /);
    expect(card).toContain("optimum's `file_name`");
    expect(card).toContain('`lacuna eval . --dtype int4 --against-dtype fp32`');
  });
});

describe('the operators that a model calls', () => {
  const expected = { bytesPerToken: 1 };
  const BLOCK = { block: 'layers.0.ffn', expected, why: '' };
  const CHOICE = {
    measure: 'activation',
    cut: { kind: 'absolute', threshold: 1 },
    rest: 'nothing',
    tensors: {},
  } as const;
  const FLOATS: ManifestModel = {
    file: 'onnx/model.onnx',
    precision: 'fp32',
    vocabulary: 'fp32',
    onnxruntime: '>=1.21',
  };
  const doing = (...blocks: Plan['blocks']): Plan => ({ ...plan, blocks });

  it.each<[string, Plan | null, Partial<ManifestModel>, number | undefined]>([
    ['are those that its folder states', doing({ ...BLOCK, choice: CHOICE }), { operatorSet: 7 }, 7],
    ['are of version 1 where it has blocks', null, { blocks: { blockSize: 32, symmetric: true } }, 1],
    ['are of version 1 where neurons are chosen', doing(BLOCK, { ...BLOCK, choice: CHOICE }), {}, 1],
    ['are of version 1 where blocks are skipped', doing({ ...BLOCK, skip: { threshold: 0.9, runLength: 1 } }), {}, 1],
    ['are none in a dense model of floats', null, {}, undefined],
    ['are none where a plan does something else to blocks', doing(BLOCK), {}, undefined],
  ])('%s', (_, carriedOut, stated, wanted) => {
    const model = { ...FLOATS, ...stated };
    const manifest = { plan: carriedOut } as Manifest;
    expect(calledOperators({ manifest, model, modelPath: '' })).toBe(wanted);
  });
});

describe('transformers.js', () => {
  it('finds each precision by the suffix of its dtype, the first without', () => {
    const files = choosePrecisions(PRECISION_NAMES).map(modelFileOf);
    expect(files).toEqual(
      ['model', 'model_fp16', 'model_bf16', 'model_int8', 'model_int6', 'model_int5', 'model_q4'].map(
        (name) => `onnx/${name}.onnx`,
      ),
    );
    expect(modelFileOf(choosePrecision('int4'), 0)).toBe('onnx/model.onnx');
  });

  it.each([
    [['int4'], { 'model.onnx': 1 }, undefined],
    [['fp16'], { 'model.onnx': 1 }, { fp32: 'float16' }],
    [['fp32', 'fp16', 'int4'], { 'model.onnx': 1, 'model_fp16.onnx': 1, 'model_q4.onnx': 1 }, { fp16: 'float16' }],
    [['fp16', 'int8'], { 'model.onnx': 1, 'model_int8.onnx': 1 }, { fp32: 'float16' }],
  ] as const)('of %j is told the data files, and by dtype which caches are not float32', (names, external, caches) => {
    const config = transformersJsConfig(choosePrecisions(names));
    expect(config).toEqual({
      dtype: 'fp32',
      use_external_data_format: external,
      ...(caches && { kv_cache_dtype: caches }),
    });
  });
});

describe('genaiConfig', () => {
  const model = (changes: Partial<ModelSpec>) => genaiConfig({ ...spec, ...changes }, true).model;

  it('names one end token as a number, several as a list, and the first of them for padding', () => {
    expect(model({})).toMatchObject({ eos_token_id: 2, pad_token_id: 2 });
    expect(model({ eosTokenIds: [7, 8] })).toMatchObject({ eos_token_id: [7, 8], pad_token_id: 7 });
  });

  it('pads with the token that the model is padded with', () => {
    expect(model({ padTokenId: 0 })).toMatchObject({ eos_token_id: 2, pad_token_id: 0 });
  });

  it('has a start token only where the model has one', () => {
    expect(model({})).not.toHaveProperty('bos_token_id');
    expect(model({ bosTokenId: 1 })).toMatchObject({ bos_token_id: 1 });
  });

  it('shares the cache buffer only when told to', () => {
    expect(genaiConfig(spec, true).search).toMatchObject({ past_present_share_buffer: true, max_length: 128 });
    expect(genaiConfig(spec, false).search).toMatchObject({ past_present_share_buffer: false });
  });
});

it.each([
  ['none', {}, undefined],
  ['another folder, whose first precision it is', { dtype: 'int8', against: 'b' }, { folder: 'b', dtype: undefined }],
  ['one of its precisions', { against: 'b', againstDtype: 'fp32' }, { folder: 'b', dtype: 'fp32' }],
  ['another precision of the folder', { dtype: 'int8', againstDtype: 'fp32' }, { folder: 'a', dtype: 'fp32' }],
  ['the same precision in another engine', { dtype: 'int8', againstEngine: 'stock' }, { folder: 'a', dtype: 'int8' }],
])('a baseline is %s', (_, given, baseline) => {
  expect(baselineOf({ folder: 'a', ...given })).toEqual(baseline);
});
