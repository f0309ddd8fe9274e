/** Converted precisions against fp32: every variant's logits, and a trained model's perplexity. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../formats/checkpoint.ts';
import { encodeModel } from '../formats/onnx/index.ts';
import { loadTokenizer } from '../formats/tokenizer/index.ts';
import { choosePrecision, PRECISIONS, type Precision, VOCABULARY_NAMES } from '../src/core/precision.ts';
import type { Session } from '../src/core/session.ts';
import { float32Tensor, storedIn } from '../src/core/tensor.ts';
import { cutWindows, measurePerplexity } from '../src/eval/index.ts';
import { fuseSkipNorms } from '../src/rewrite/index.ts';
import { openBytes } from '../test/open-bytes.ts';
import { FIXTURES, VARIANTS } from '../test/variants.ts';
import { assemble, openModel } from './index.ts';

async function openAs(folder: string, precision: Precision): Promise<Session> {
  const pieces = openModel(await openCheckpoint(folder), { precision });
  return openBytes(await encodeModel(fuseSkipNorms(assemble(pieces))));
}

async function logitsOf(folder: string, precision: Precision): Promise<Float32Array> {
  const session = await openAs(folder, precision);
  const ids = Array.from({ length: 16 }, (_, i) => (i * 7) % 50);
  const first = await session.step(ids.slice(0, 11), session.emptyCache(), { logits: 'all' });
  const second = await session.step(ids.slice(11), first.cache, { logits: 'all' });
  await session.close();
  return Float32Array.from([...first.logits, ...second.logits]);
}

/** sqrt(sum (a - b)^2 / sum b^2). */
function relativeError(actual: Float32Array, expected: Float32Array): number {
  let [difference, size] = [0, 0];
  for (const [i, value] of expected.entries()) {
    difference += (actual[i] - value) ** 2;
    size += value ** 2;
  }
  return Math.sqrt(difference / size);
}

/**
 * As a share of the root mean square logit. Rounding errors of single weights, relative to their block's largest value:
 * 2^-11 in float16, 2^-8 in bfloat16, of the weight itself in both; 1/256 in 8 bits, 1/16 in 4 bits. A block's typical
 * value is a third of its largest. The errors of about twenty successive products add up as the square root of the sum
 * of squares. A wrong layout, scale or zero point is off by 1 and more.
 */
const LIMITS: Readonly<Record<string, number>> = {
  ...{ fp16: 0.005, bf16: 0.04, int8: 0.08 },
  // A bit less doubles the step; in 8 bits, rounded inputs cost as much as weights.
  ...{ int6: 0.16, int5: 0.3, int4: 0.6 },
};

/** Every architecture with every feature, a few layers each. */
const variants = VARIANTS.map(({ path }) => path);

/** The logits of variants in fp32, computed once for all precisions. */
const floatLogits = new Map<string, Promise<Float32Array>>();

async function errorOf(variant: string, precision: Precision): Promise<number> {
  const folder = join(FIXTURES, variant);
  const floats = floatLogits.get(variant) ?? logitsOf(folder, choosePrecision('fp32'));
  floatLogits.set(variant, floats);
  return relativeError(await logitsOf(folder, precision), await floats);
}

/** Norms and biases are not rounded. */
async function isBfloat16(variant: string): Promise<boolean> {
  const { tensors } = await openCheckpoint(join(FIXTURES, variant));
  return [...tensors.values()].every(({ dtype, shape }) => shape.length === 1 || dtype === 'bfloat16');
}

describe.each(PRECISIONS.filter(({ name }) => name !== 'fp32'))('$name', (precision) => {
  test.each(variants)('%s has nearly the logits of fp32', async (variant) => {
    const error = await errorOf(variant, precision);
    expect(error).toBeLessThan(LIMITS[precision.name]);
    // Weights stored as bfloat16 are widened to the very same weights.
    if (precision.name === 'bf16' && (await isBfloat16(variant))) expect(error).toBe(0);
    else expect(error).toBeGreaterThan(0);
  });
});

test('both kinds of checkpoints are among the variants', async () => {
  const stored = new Set(await Promise.all(variants.map(isBfloat16)));
  expect(stored).toEqual(new Set([true, false]));
});

describe.each(VOCABULARY_NAMES)('int4 with embedding and head in %s', (vocabulary) => {
  test.each(['llama-variants/gqa-tied-bf16', 'gemma-variants/gemma-untied-fp32'])('%s', async (variant) => {
    const error = await errorOf(variant, choosePrecision('int4', { vocabulary }));
    expect(error).toBeLessThan(LIMITS.int4);
    expect(error).toBeGreaterThan(0);
  });
});

test.each(PRECISIONS)('$name: each residual addition is one operator with the norm after it', async (precision) => {
  const checkpoint = await openCheckpoint(join(FIXTURES, 'llama-variants/gqa-tied-bf16'));
  const pieces = openModel(checkpoint, { precision });
  const { nodes } = fuseSkipNorms(assemble(pieces));
  const count = (name: string) => nodes.filter(({ opType }) => opType === name).length;
  expect(count('SkipSimplifiedLayerNormalization')).toBe(2 * pieces.spec.numHiddenLayers);
  expect(count('SimplifiedLayerNormalization')).toBe(1);
});

test('fp16 keeps a residual stream that outgrows float16, where what is added to it is normed', async () => {
  const checkpoint = await openCheckpoint(join(FIXTURES, 'gemma-variants/gemma3-pattern'));
  // Each FFN adds values around 30,000 to the stream, which float16 holds up to 65,504.
  const tensors = new Map(checkpoint.tensors);
  for (const [name, { shape }] of tensors)
    if (name.endsWith('post_feedforward_layernorm.weight'))
      tensors.set(name, float32Tensor(new Float32Array(shape[0]).fill(30_000)));
  const logits = async (dtype: 'fp16' | 'fp32') => {
    const pieces = openModel({ ...checkpoint, tensors }, { precision: dtype });
    const session = await openBytes(await encodeModel(fuseSkipNorms(assemble(pieces))));
    const { logits: row } = await session.step([2, 7, 9, 30], session.emptyCache());
    await session.close();
    return row;
  };
  expect(relativeError(await logits('fp16'), await logits('fp32'))).toBeLessThan(LIMITS.fp16);
});

test("bf16 writes the checkpoint's own bytes, once for a tied head, and norms as float32", async () => {
  const checkpoint = await openCheckpoint(join(FIXTURES, 'llama-variants/gqa-tied-bf16'));
  const graph = assemble(openModel(checkpoint, { precision: 'bf16' }));
  const matrices = graph.initializers.filter(({ name, data }) => name.endsWith('.weight') && data.shape.length === 2);
  expect(matrices.every(({ data }) => data.dtype === 'bfloat16')).toBe(true);
  expect(new Set(matrices.flatMap(({ data }) => storedIn(data)).map(({ dtype }) => dtype))).toEqual(
    new Set(['bfloat16']),
  );
  // Query, key and value are joined. Nothing is converted on the way.
  expect(new Set(matrices.map(({ data }) => data.kind))).toEqual(new Set(['file', 'concat']));
  expect(graph.initializers.filter(({ name }) => name === 'model.embed_tokens.weight')).toHaveLength(1);
  const norms = graph.initializers.filter(({ name }) => name.endsWith('norm.weight'));
  expect(norms.map(({ data }) => data.dtype)).toEqual(norms.map(() => 'float32'));
  expect(norms.length).toBeGreaterThan(2);
});

describe('importances', () => {
  const folder = join(FIXTURES, 'llama-variants/gqa-tied-bf16');
  const projections = ['self_attn.q_proj', 'self_attn.o_proj', 'mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj'];

  test('reach the matrix they are named for; query, key and value share one', async () => {
    const checkpoint = await openCheckpoint(folder);
    const importance = new Map(
      projections.map((projection) => {
        const name = `model.layers.1.${projection}.weight`;
        const columns = checkpoint.tensors.get(name)?.shape[1] ?? 0;
        return [name, float32Tensor(new Float32Array(columns).fill(2))] as const;
      }),
    );
    const { initializers } = assemble(openModel(checkpoint, { precision: 'int4', importance }));
    const reached = initializers.flatMap(({ name, data }) =>
      data.kind === 'quantize' && data.part === 'codes' && data.importance !== undefined
        ? [[name, data.importance]]
        : [],
    );
    expect(reached).toEqual(
      [...importance].map(([name, tensor]) => [`${name.replace('q_proj', 'qkv_proj')}.codes`, tensor]),
    );
  });

  test.each([
    ['llama-variants/gqa-tied-bf16', 'model.embed_tokens.weight'],
    ['gemma-variants/gemma-untied-fp32', 'lm_head.weight'],
    // Its checkpoint has other names than its text model.
    ['gemma-variants/gemma3-multimodal', 'model.embed_tokens.weight'],
  ])('of the head of %s go to %s', async (variant, stored) => {
    const checkpoint = await openCheckpoint(join(FIXTURES, variant));
    const { spec } = openModel(checkpoint, { precision: 'fp32' });
    const head = float32Tensor(new Float32Array(spec.hiddenSize).fill(2));
    const importance = new Map([['lm_head.weight', head]]);
    const { initializers } = assemble(openModel(checkpoint, { precision: 'int4', importance }));
    const reached = initializers.flatMap(({ name, data }) =>
      data.kind === 'quantize' && data.importance === head ? [name] : [],
    );
    expect(reached).toContain(`${stored}.codes`);
    expect(reached.every((name) => name.startsWith(stored))).toBe(true);
  });

  test.each([
    ['model.layers.9.mlp.up_proj.weight', [64], /no matrix of the checkpoint: model\.layers\.9/],
    ['model.norm.weight', [64], /no matrix of the checkpoint: model\.norm/],
    ['model.layers.0.mlp.up_proj.weight', [3], /up_proj\.weight has \[3\], its weight has \d+ columns/],
  ])('of %s, %j are refused', async (name, shape, message) => {
    const importance = new Map([[name, float32Tensor(new Float32Array(shape[0]), shape)]]);
    const checkpoint = await openCheckpoint(folder);
    expect(() => openModel(checkpoint, { precision: 'int4', importance })).toThrow(
      expect.objectContaining({ code: 'mismatch', message: expect.stringMatching(message) }),
    );
  });
});

describe('perplexity of a trained model', () => {
  const checkpoint = join(FIXTURES, 'tiny-llama');
  let windows: ReturnType<typeof cutWindows>;
  let dense: number;

  async function perplexityAs(precision: Precision): Promise<number> {
    const session = await openAs(checkpoint, precision);
    const { perplexity } = await measurePerplexity(session, windows);
    await session.close();
    return perplexity;
  }

  beforeAll(async () => {
    const text = readFileSync(join(FIXTURES, '../texts/test.txt'), 'utf8').slice(0, 12_000);
    windows = cutWindows((await loadTokenizer(checkpoint)).encode(text, { addSpecialTokens: false }), { length: 256 });
    dense = await perplexityAs(choosePrecision('fp32'));
  });

  test.each([
    ['fp16', {}, 1.001],
    ['int8', {}, 1.005],
    ['int8', { blockSize: 128, asymmetric: true }, 1.005],
    ['int4', {}, 1.03],
    ['int4', { asymmetric: true }, 1.03],
    ['int4', { blockSize: 128 }, 1.06],
    ['int4', { vocabulary: 'fp32' }, 1.03],
    ['int4', { vocabulary: 'int4' }, 1.06],
  ] as const)('in %s %j is within its ratio', async (name, options, limit) => {
    const ratio = (await perplexityAs(choosePrecision(name, options))) / dense;
    expect(ratio).toBeLessThan(limit);
    expect(ratio).toBeGreaterThan(2 - limit);
  });

  test('in bf16 is that of fp32: so the weights are stored', async () => {
    expect(await perplexityAs(choosePrecision('bf16'))).toBe(dense);
  });
});
