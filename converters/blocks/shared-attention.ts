/**
 * Attention to the keys and values of another layer. GroupQueryAttention always appends keys of its own, so this is made
 * of standard operators. Scores are [heads, tokens, total], as they are inside GroupQueryAttention on processors.
 */
import { attr, type ValueInfo } from '../../src/core/graph.ts';
import { type GraphBuilder, value } from '../../src/core/graph-builder.ts';
import { tapName } from '../../src/core/model.ts';
import { cast, float32Tensor } from '../../src/core/tensor.ts';
import type { LayerConfig } from '../config/decoder-config.ts';
import { normHeads, sharesCacheBuffer } from './attention.ts';
import { narrowHeads, sideBySide, widenHeads } from './head-width.ts';
import type { DecoderParts, Floats } from './parts.ts';
import { linear } from './product.ts';

/** Layer `owner`'s keys or values of all tokens, without spare room: float [b, kv heads, total, head]. */
function sharedName(owner: number, part: 'key' | 'value'): string {
  return `layers.${owner}.shared_${part}`;
}

/** What a layer adds to scores: 0 for keys that a token sees, else the least number. */
function maskName({ slidingWindow }: LayerConfig): string {
  return slidingWindow === undefined ? 'shared_mask.full' : 'shared_mask.sliding';
}

/** Whether other layers read a layer's keys and values. */
function isRead({ config }: DecoderParts, index: number): boolean {
  return config.layers.some(({ cacheOf }) => cacheOf === index);
}

/** What layer `index` gives to layers that read its keys and values; nothing where there are none. */
export function sharedOutputs(index: number, parts: DecoderParts): ValueInfo[] {
  return isRead(parts, index) ? sharedValues(index, parts) : [];
}

function sharedValues(owner: number, { config: { spec }, floats }: DecoderParts): ValueInfo[] {
  const shape = ['batch_size', spec.numKeyValueHeads, 'total_sequence_length', spec.headDim];
  return (['key', 'value'] as const).map((part) => value(sharedName(owner, part), floats, shape));
}

/** What a layer reads that has no keys of its own. */
export function sharedInputs({ cacheOf = 0, ...layer }: LayerConfig, parts: DecoderParts): ValueInfo[] {
  return [
    value('position_ids', 'int64', ['batch_size', 'sequence_length']),
    maskInfo(maskName(layer as LayerConfig), parts.floats),
    ...sharedValues(cacheOf, parts),
  ];
}

function maskInfo(name: string, floats: Floats): ValueInfo {
  return value(name, floats, ['batch_size', 1, 'sequence_length', 'total_sequence_length']);
}

/** The masks of a model's layers, in the embed piece: from `position_ids` and `attention_mask`. */
export function sharedMasks(g: GraphBuilder, { config, floats }: DecoderParts): ValueInfo[] {
  const readers = config.layers.filter(({ cacheOf }) => cacheOf !== undefined);
  const kinds = new Map(readers.map((layer) => [maskName(layer), layer]));
  if (kinds.size === 0) return [];
  const total = g.op('Gather', [g.op('Shape', ['attention_mask']), g.int64Scalar(1)]);
  const columns = g.op('Range', [g.int64Scalar(0), total, g.int64Scalar(1)]);
  const rows = g.op('Unsqueeze', ['position_ids', g.int64(1, 3)]);
  const earlier = g.op('LessOrEqual', [columns, rows]);
  const number = (of: number) => g.constant(cast(float32Tensor([of], []), floats));
  return [...kinds].map(([name, { slidingWindow }]) => {
    const inWindow = () =>
      g.op('And', [earlier, g.op('Greater', [columns, g.op('Sub', [rows, g.int64Scalar(slidingWindow ?? 0)])])]);
    const seen = slidingWindow === undefined ? earlier : inWindow();
    g.op('Where', [seen, number(0), number(LEAST[floats])], { outputs: [name] });
    return maskInfo(name, floats);
  });
}

const LEAST: Readonly<Record<Floats, number>> = { float32: -3.4028234663852886e38, float16: -65504 };

/** Keys and values of layer `index` for those that read them: caches may have room for more tokens. */
export function shareCache(g: GraphBuilder, index: number, parts: DecoderParts): void {
  if (!isRead(parts, index)) return;
  const total = g.op('Unsqueeze', [g.cast('total_sequence_length', 'int64'), g.int64(0)]);
  for (const part of ['key', 'value'] as const)
    g.op('Slice', [`present.${index}.${part}`, g.int64(0), total, g.int64(2)], { outputs: [sharedName(index, part)] });
}

/** x [b, s, hidden] -> attention's `output` [b, s, hidden], not normed or added yet. The tap attended is on the way. */
export function sharedAttention(
  g: GraphBuilder,
  x: string,
  index: number,
  parts: DecoderParts,
  output = g.fresh('o_proj'),
): string {
  const { config, weights, normWeights } = parts;
  const { numAttentionHeads: heads, numKeyValueHeads: keys, headDim } = config.spec;
  const { cacheOf = 0, ...layer } = config.layers[index];
  const prefix = `model.layers.${index}.self_attn`;
  const biasOf = (name: string, biased: 'qkv' | 'attention_output') =>
    config.biases.has(biased) ? weights(`${prefix}.${name}.bias`) : undefined;
  const projected = linear(g, x, weights(`${prefix}.q_proj.weight`), biasOf('q_proj', 'qkv'));
  const normed = normHeads(g, projected, heads, normWeights(`${prefix}.q_norm.weight`), parts);
  const apart = g.op('Reshape', [turned(g, normed, layer.rope, parts), g.int64(0, 0, heads, headDim)]);
  // Heads that share a key head stand under each other, so that one product takes them together.
  const swapped = { attributes: { perm: attr.ints([0, 2, 1, 3]) } };
  const query = g.op('Reshape', [g.op('Transpose', [apart], swapped), g.int64(0, keys, -1, headDim)]);
  const scores = scoresOf(g, query, sharedName(cacheOf, 'key'), parts);
  const masked = g.op('Add', [g.op('Reshape', [scores, g.int64(0, heads, -1, 0)]), maskName(layer)]);
  const shares = g.op('Reshape', [g.op('Softmax', [masked]), g.int64(0, keys, -1, 0)]);
  const attended = g.op('MatMul', [shares, sharedName(cacheOf, 'value')]);
  const byHead = g.op('Transpose', [g.op('Reshape', [attended, g.int64(0, heads, -1, headDim)])], swapped);
  g.op('Reshape', [byHead, g.int64(0, 0, heads * headDim)], { outputs: [tapName(index, 'attended')] });
  const outBias = biasOf('o_proj', 'attention_output');
  return linear(g, tapName(index, 'attended'), weights(`${prefix}.o_proj.weight`), outBias, output);
}

/** scale query keyᵀ. */
function scoresOf(g: GraphBuilder, query: string, key: string, { config, floats }: DecoderParts): string {
  const { attentionScale: scale } = config;
  if (floats === 'float32')
    return g.contrib('FusedMatMul', [query, key], { attributes: { transB: attr.int(1), alpha: attr.float(scale) } });
  const turnedKey = g.op('Transpose', [key], { attributes: { perm: attr.ints([0, 1, 3, 2]) } });
  const scores = g.op('MatMul', [query, turnedKey]);
  return scale === 1 ? scores : g.op('Mul', [scores, g.constant(cast(float32Tensor([scale], []), floats))]);
}

/** Heads [b, s, heads * head] turned by their positions. */
function turned(g: GraphBuilder, x: string, rope: string, { config: { spec }, floats, rotary }: DecoderParts): string {
  const { cos, sin } = rotary(rope);
  const tables = [g.initializer(`${rope}.cos`, cast(cos, floats)), g.initializer(`${rope}.sin`, cast(sin, floats))];
  const turn = (heads: string) =>
    g.contrib('RotaryEmbedding', [heads, 'position_ids', ...tables], {
      attributes: { num_heads: attr.int(spec.numAttentionHeads) },
    });
  if (sharesCacheBuffer(spec)) return turn(x);
  const layout = sideBySide(spec.numAttentionHeads);
  return narrowHeads(g, turn(widenHeads(g, x, layout, spec.headDim)), layout, spec.headDim, g.fresh('turned'));
}
