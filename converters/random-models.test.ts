/**
 * Converters against Transformers on models with random configurations: a prompt at once, then token by token.
 *
 * LACUNA_RANDOM_MODELS names a folder of models other than the committed ones: `fixtures/random-models/make.py --seed`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../formats/checkpoint.ts';
import { encodeModel } from '../formats/onnx/index.ts';
import type { Checkpoint } from '../src/core/checkpoint.ts';
import type { ModelSpec } from '../src/core/model.ts';
import type { Session } from '../src/core/session.ts';
import type { TensorExpr } from '../src/core/tensor.ts';
import { fuseSkipNorms } from '../src/rewrite/index.ts';
import { RELATIVE, readExpected, relativeError } from '../test/expected-logits.ts';
import { openBytes } from '../test/open-bytes.ts';
import { assemble, openModel } from './index.ts';

const ROOT = process.env.LACUNA_RANDOM_MODELS ?? join(import.meta.dirname, '../fixtures/random-models');

interface RandomModel {
  readonly name: string;
  /** Feature -> how far Transformers' logits are off without it in config.json, relative to the largest. */
  readonly effects: Readonly<Record<string, number>>;
}

interface Listed {
  readonly prompt: number;
  readonly steps: number;
  readonly models: readonly RandomModel[];
}

const { prompt, steps, models }: Listed = JSON.parse(readFileSync(join(ROOT, 'models.json'), 'utf8'));

test('at least 80 models, and every folder is listed', () => {
  const folders = readdirSync(ROOT, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(folders.map(({ name }) => name).sort()).toEqual(models.map(({ name }) => name).sort());
  expect(models.length).toBeGreaterThanOrEqual(80);
  expect(steps).toBeGreaterThanOrEqual(16);
});

test.each(models)('$name', async ({ name }) => {
  const folder = join(ROOT, name);
  const { ids, logits } = await readExpected(join(folder, 'expected.safetensors'));
  expect(ids).toHaveLength(prompt + steps);
  const pieces = openModel(await openCheckpoint(folder), { precision: 'fp32' });
  const session = await openBytes(await encodeModel(fuseSkipNorms(assemble(pieces))));
  try {
    const [prefilled, decoded] = await prefillAndDecode(session, ids);
    const border = prompt * pieces.spec.vocabSize;
    expect(relativeError(prefilled, logits.slice(0, border)), 'prefill').toBeLessThan(RELATIVE);
    expect(relativeError(decoded, logits.slice(border)), 'decode').toBeLessThan(RELATIVE);
  } finally {
    await session.close();
  }
});

/** Logits of the prompt, fed at once, and of the tokens after it, fed one by one. */
async function prefillAndDecode(session: Session, ids: readonly number[]): Promise<[Float32Array, Float32Array]> {
  const first = await session.step(ids.slice(0, prompt), session.emptyCache(), { logits: 'all' });
  const decoded: number[] = [];
  let { cache } = first;
  for (const id of ids.slice(prompt)) {
    const step = await session.step([id], cache);
    decoded.push(...step.logits);
    cache = step.cache;
  }
  return [first.logits, Float32Array.from(decoded)];
}

/** Those that make.py draws. */
const GEMMA3 = ['gemma3_text', 'gemma3'];
const GEMMA3N = ['gemma3n_text', 'gemma3n'];
const ALL = ['llama', 'mistral', 'gemma', 'gemma2', ...GEMMA3, ...GEMMA3N];
const WITH_SCALAR = ['gemma2', ...GEMMA3];
const WITH_LAYER_KINDS = [...WITH_SCALAR, ...GEMMA3N];
const WITH_BIAS = ALL.filter((name) => name !== 'mistral');
const ROPE_KINDS = ['default', 'linear', 'dynamic', 'yarn', 'llama3'];

type Config = Readonly<Record<string, unknown>>;

interface Opened {
  readonly architecture: string;
  readonly checkpoint: Checkpoint;
  readonly spec: ModelSpec;
  /** The part of config.json about the text model. */
  readonly text: Config;
}

/** A dimension of the draw, read from the models. Each of its values must occur in each architecture. */
type Dimension = readonly [
  name: string,
  architectures: readonly string[],
  values: readonly unknown[],
  valueIn: (model: Opened) => unknown,
];

const DIMENSIONS: readonly Dimension[] = [
  ['heads that share a key head', ALL, [1, 2, 3, 4], ({ spec }) => spec.numAttentionHeads / spec.numKeyValueHeads],
  ['head_dim given', ['llama', 'mistral'], [false, true], ({ text }) => typeof text.head_dim === 'number'],
  ['heads as wide as attention takes', ALL, [false, true], ({ spec }) => spec.headDim % 16 === 0],
  ['head', ALL, ['tied', 'own', 'tied and stored'], headKind],
  ['biases of attention', WITH_BIAS, [false, true], ({ checkpoint }) => hasTensor(checkpoint, /q_proj\.bias$/)],
  ['biases of the FFN', ['llama'], [false, true], ({ checkpoint }) => hasTensor(checkpoint, /up_proj\.bias$/)],
  [
    'positions',
    ALL,
    ROPE_KINDS.flatMap((kind) => [`${kind}, old style`, `${kind}, new style`]),
    ({ text }) => `${ropeKind(text, 'full_attention')}, ${'rope_parameters' in text ? 'new' : 'old'} style`,
  ],
  [
    'positions in windows',
    [...GEMMA3, ...GEMMA3N],
    ['default', 'linear'],
    ({ text }) => ropeKind(text, 'sliding_attention'),
  ],
  ['window', ['mistral'], ['none', 'short', 'full while decoding', 'long'], windowKind],
  ['window', WITH_LAYER_KINDS, ['short', 'full while decoding', 'long'], windowKind],
  ['layer kinds', ['gemma2', ...GEMMA3N], ['by rule', 'listed'], layerKindsGiven],
  ['layer kinds', GEMMA3, ['by rule', 'by pattern', 'listed'], layerKindsGiven],
  ['soft cap of scores', ['gemma2'], [false, true], ({ text }) => text.attn_logit_softcapping !== null],
  ['soft cap of logits', ['gemma2'], [false, true], ({ text }) => text.final_logit_softcapping !== null],
  ['soft cap of logits', ['gemma3_text'], [false, true], ({ text }) => Boolean(text.final_logit_softcapping)],
  ['query_pre_attn_scalar', WITH_SCALAR, [256, 7, 24], ({ text }) => text.query_pre_attn_scalar ?? 256],
  ['activation', ALL, ['silu', 'gelu_tanh', 'relu'], ({ spec }) => spec.hiddenAct],
  // Gemma 1 uses its approximation where the config names the exact one.
  ['activation', ALL.filter((name) => name !== 'gemma'), ['gelu'], ({ spec }) => spec.hiddenAct],
  ['an activation that is not read', ALL, [false, true], hasStrayActivation],
  ['storage', ALL, ['float32', 'float16', 'bfloat16'], ({ checkpoint }) => dtypeOf(checkpoint, /embed_tokens/)],
  [
    'norms stored as the rest',
    ALL,
    [false, true],
    ({ checkpoint }) => dtypeOf(checkpoint, /input_layernorm/) === dtypeOf(checkpoint, /embed_tokens/),
  ],
  ['files', ALL, [1, 2, 3], ({ checkpoint }) => new Set([...checkpoint.tensors.values()].map(fileOf)).size],
  ['fields that say the default', ALL, [false, true], ({ text }) => 'use_cache' in text],
  ['vision tower', ['gemma3'], [false, true], ({ checkpoint }) => hasTensor(checkpoint, /vision_tower/)],
  ['towers', ['gemma3n'], [false, true], ({ checkpoint }) => hasTensor(checkpoint, /audio_tower/)],
  ['soft cap of logits', GEMMA3N, [2, 30], ({ text }) => text.final_logit_softcapping ?? 30],
  ['layers that share keys', GEMMA3N, [0, 1, 2], ({ text }) => text.num_kv_shared_layers],
  ['layers that cut gates', GEMMA3N, ['none', 'some', 'all'], cutsKind],
  ['FFNs of several sizes', GEMMA3N, [false, true], ({ spec }) => spec.intermediateSizes !== undefined],
  ['streams', GEMMA3N, [2, 3, 4], ({ text }) => text.altup_num_inputs ?? 4],
  ['the stream that is computed', GEMMA3N, [0, 1], ({ text }) => text.altup_active_idx ?? 0],
  ['a scale of what is corrected', GEMMA3N, [false, true], ({ text }) => text.altup_correct_scale ?? true],
  ['tokens beyond the second table', GEMMA3N, [false, true], hasTokensBeyond],
  ['names', ['gemma3'], [false, true], ({ checkpoint }) => hasTensor(checkpoint, /^language_model\.model\./)],
];

/** What `effects` says about single features. */
const FEATURES: readonly (readonly [feature: string, architectures: readonly string[]])[] = [
  ['activation', ALL],
  ['rope linear', ALL],
  ['rope yarn', ALL],
  ['rope llama3', ALL],
  ['local rope', [...GEMMA3, ...GEMMA3N]],
  ['sliding_window', ['mistral', ...WITH_LAYER_KINDS]],
  ['attention_bias', WITH_BIAS],
  ['mlp_bias', ['llama']],
  ['query_pre_attn_scalar', WITH_SCALAR],
  ['activation_sparsity_pattern', GEMMA3N],
  ['altup_active_idx', GEMMA3N],
  ['altup_correct_scale', GEMMA3N],
  ['attn_logit_softcapping', ['gemma2']],
  ['final_logit_softcapping', ['gemma2', 'gemma3_text', ...GEMMA3N]],
];

describe('the draw', () => {
  let opened: readonly Opened[] = [];
  beforeAll(async () => {
    opened = await Promise.all(models.map(openNamed));
  }, 30_000);

  test('has as many models of each architecture', () => {
    const counts = ALL.map((name) => opened.filter(({ architecture }) => architecture === name).length);
    expect(counts).toEqual(Array(ALL.length).fill(models.length / ALL.length));
  });

  test.each(DIMENSIONS)('has every value of: %s (%j)', (_, architectures, values, valueIn) => {
    for (const name of architectures) {
      const met = opened.filter(({ architecture }) => architecture === name).map(valueIn);
      expect(met, name).toEqual(expect.arrayContaining([...values]));
    }
  });

  test.each(FEATURES)('logits would show a converter that ignores: %s (%j)', (feature, architectures) => {
    for (const name of architectures) {
      const shown = models
        .filter((model) => model.name.endsWith(`-${name}`))
        .map(({ effects }) => effects[feature] ?? 0);
      expect(Math.max(...shown), name).toBeGreaterThan(100 * RELATIVE);
    }
  });
});

async function openNamed({ name }: RandomModel): Promise<Opened> {
  const checkpoint = await openCheckpoint(join(ROOT, name));
  const { spec } = openModel(checkpoint, { precision: 'fp32' });
  const { config } = checkpoint;
  const text = (config.text_config ?? config) as Config;
  return { architecture: String(config.model_type), checkpoint, spec, text };
}

function ropeKind(text: Config, layerKind: string): unknown {
  const given = (text.rope_parameters ?? {}) as Config;
  const scaled = layerKind === 'full_attention' ? text.rope_scaling : undefined;
  const rope = (scaled ?? given[layerKind] ?? given) as Config;
  return rope.rope_type ?? rope.type ?? 'default';
}

function headKind({ architecture, checkpoint }: Opened): string {
  const tied = checkpoint.config.tie_word_embeddings ?? architecture.startsWith('gemma');
  const stored = hasTensor(checkpoint, /lm_head/);
  return tied ? (stored ? 'tied and stored' : 'tied') : 'own';
}

function windowKind({ text }: Opened): string {
  const { sliding_window: window = 4096 } = text;
  if (window === null) return 'none';
  return Number(window) < prompt ? 'short' : Number(window) < prompt + steps ? 'full while decoding' : 'long';
}

function layerKindsGiven({ text }: Opened): string {
  return 'layer_types' in text ? 'listed' : 'sliding_window_pattern' in text ? 'by pattern' : 'by rule';
}

function cutsKind({ text }: Opened): string {
  const pattern = (text.activation_sparsity_pattern ?? []) as number[];
  const cut = pattern.filter((share) => share > 0).length;
  return cut === 0 ? 'none' : cut === pattern.length ? 'all' : 'some';
}

function hasTokensBeyond({ text, spec }: Opened): boolean {
  return Number(text.vocab_size_per_layer_input) < spec.vocabSize;
}

function hasStrayActivation({ architecture, text }: Opened): boolean {
  return (WITH_LAYER_KINDS.includes(architecture) ? 'hidden_act' : 'hidden_activation') in text;
}

function hasTensor({ tensors }: Checkpoint, name: RegExp): boolean {
  return [...tensors.keys()].some((key) => name.test(key));
}

function dtypeOf({ tensors }: Checkpoint, name: RegExp): string | undefined {
  return [...tensors].find(([key]) => name.test(key))?.[1].dtype;
}

function fileOf(tensor: TensorExpr): string {
  return tensor.kind === 'file' ? tensor.path : expect.fail(`${tensor.kind} in a checkpoint`);
}
