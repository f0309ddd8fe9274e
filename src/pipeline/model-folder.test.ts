/** What a model folder says of itself: its manifest, its card and its genai config. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../test/temporary.ts';
import type { ModelSpec } from '../core/model.ts';
import type { Plan } from '../core/plan.ts';
import { choosePrecision, type Precision } from '../core/precision.ts';
import { genaiConfig } from './genai-config.ts';
import { modelCard } from './model-card.ts';
import { readManifest } from './model-folder.ts';

const folder = temporaryFolder();

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
  const plan: Plan = {
    format: 'lacuna.plan',
    version: 1,
    preset: 'ffn-skip',
    model: { ...spec, fingerprint: '' },
    statistics: '',
    tensors: null,
    target: { kind: 'skipped-blocks', value: 0.25 },
    prefill: 'sparse',
    skipping: { warmUpTokens: 5, reArm: true },
    blocks: [],
  };

  it('says what was left out, and of which runtime the folder needs', () => {
    const card = modelCard({ spec, plan, precision: choosePrecision('fp32'), onnxruntime: '>=1.24' });
    expect(card).toContain('`ffn-skip` preset: about 25 % of the FFN blocks are skipped');
    expect(card).toContain('ONNX Runtime 1.24 or newer');
    const dense = (precision: Precision) => modelCard({ spec, plan: null, precision, onnxruntime: '>=1.21' });
    expect(dense(choosePrecision('fp32'))).toContain('Nothing was left out');
    expect(dense(choosePrecision('int4', { asymmetric: true }))).toContain(
      'Weights are 4-bit, embedding and head 8-bit, in blocks of 32 with zero points; the cache is float32',
    );
  });
});

describe('genaiConfig', () => {
  const model = (changes: Partial<ModelSpec>) => genaiConfig({ ...spec, ...changes }, true).model;

  it('names one end token as a number, several as a list, and the first of them for padding', () => {
    expect(model({})).toMatchObject({ eos_token_id: 2, pad_token_id: 2 });
    expect(model({ eosTokenIds: [7, 8] })).toMatchObject({ eos_token_id: [7, 8], pad_token_id: 7 });
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
