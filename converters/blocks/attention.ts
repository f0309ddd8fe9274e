/** Grouped-query attention (Ainslie et al. 2023) with rotary positions and its cache, in one GroupQueryAttention. */
import { type Attribute, attr, CONTRIB_DOMAIN, type ValueInfo } from '../../src/core/graph.ts';
import { type GraphBuilder, value } from '../../src/core/graph-builder.ts';
import type { ModelSpec } from '../../src/core/model.ts';
import type { Precision } from '../../src/core/precision.ts';
import { cast, concatRows } from '../../src/core/tensor.ts';
import type { DecoderConfig } from '../config/decoder-config.ts';
import type { Weight, Weights } from '../weights.ts';
import { CACHE_LAYOUT, narrowHeads, sideBySide, widenHeads } from './head-width.ts';
import { linear } from './linear.ts';
import { ROTARY_COS, ROTARY_SIN, type RotaryTables } from './rotary.ts';

/**
 * Whether past and present may be one buffer of full length that attention writes into. Heads that are no multiple of
 * 16 wide are widened on their way in and out, so there present is a copy.
 */
export function sharesCacheBuffer(spec: Pick<ModelSpec, 'headDim'>): boolean {
  return spec.headDim % 16 === 0;
}

/** Layer `index`'s cache as it comes in, each float [b, kv heads, past, head]. */
export function cacheInputs(index: number, spec: ModelSpec, floats: Floats): ValueInfo[] {
  return ['key', 'value'].map((part) =>
    cache(`past_key_values.${index}.${part}`, 'past_sequence_length', spec, floats),
  );
}

/** Layer `index`'s cache with the new tokens in it. */
export function cacheOutputs(index: number, spec: ModelSpec, floats: Floats): ValueInfo[] {
  return ['key', 'value'].map((part) => cache(`present.${index}.${part}`, 'total_sequence_length', spec, floats));
}

type Floats = Precision['floats'];

function cache(name: string, length: string, spec: ModelSpec, floats: Floats): ValueInfo {
  return value(name, floats, ['batch_size', spec.numKeyValueHeads, length, spec.headDim]);
}

/**
 * x [b, s, hidden] -> attention's output [b, s, hidden], before the residual is added. Query, key and value are one
 * product of stacked weights: one operator instead of three, and their rows are neighbours in memory.
 */
export function attention(
  g: GraphBuilder,
  x: string,
  index: number,
  config: DecoderConfig,
  weights: Weights,
  rotary: RotaryTables,
): string {
  const prefix = `model.layers.${index}.self_attn`;
  const bias = (of: () => Weight) => (config.attentionBias ? of() : undefined);
  const qkvBias = bias(() => packed(prefix, 'bias', weights));
  const qkvWeight = packed(prefix, 'weight', weights);
  const qkv = linear(g, x, qkvWeight, qkvBias);
  g.initializer(ROTARY_COS, cast(rotary.cos, qkvWeight.precision.floats));
  g.initializer(ROTARY_SIN, cast(rotary.sin, qkvWeight.precision.floats));
  const attend = sharesCacheBuffer(config.spec) ? groupQueryAttention : widenedAttention;
  const attended = attend(g, qkv, index, config);
  const outBias = bias(() => weights(`${prefix}.o_proj.bias`));
  return linear(g, attended, weights(`${prefix}.o_proj.weight`), outBias);
}

/** Query, key and value, one under the other: [(heads + 2 kv heads) * head, hidden], or the same of their biases. */
function packed(prefix: string, part: 'weight' | 'bias', weights: Weights): Weight {
  const parts = ['q_proj', 'k_proj', 'v_proj'].map((projection) => weights(`${prefix}.${projection}.${part}`));
  const data = concatRows(parts.map((one) => one.data));
  // All three read the same input, so what is important to one is to all.
  return { ...parts[0], name: `${prefix}.qkv_proj.${part}`, data };
}

interface CacheNames {
  readonly key: string;
  readonly value: string;
}

function cacheNames(prefix: string): CacheNames {
  return { key: `${prefix}.key`, value: `${prefix}.value` };
}

/** qkv [b, s, (heads + 2 kv heads) * head] -> [b, s, heads * head], with the caches by their names in the graph. */
function groupQueryAttention(
  g: GraphBuilder,
  qkv: string,
  index: number,
  config: DecoderConfig,
  past = cacheNames(`past_key_values.${index}`),
  present = cacheNames(`present.${index}`),
): string {
  const inputs = [qkv, '', '', past.key, past.value, 'seqlens_k', 'total_sequence_length', ROTARY_COS, ROTARY_SIN];
  const outputs = [g.fresh('attended'), present.key, present.value];
  return g.ops('GroupQueryAttention', inputs, { domain: CONTRIB_DOMAIN, attributes: attributes(config), outputs })[0];
}

function attributes({ spec, slidingWindow = Infinity }: DecoderConfig): Record<string, Attribute> {
  return {
    num_heads: attr.int(spec.numAttentionHeads),
    kv_num_heads: attr.int(spec.numKeyValueHeads),
    scale: attr.float(spec.headDim ** -0.5),
    do_rotary: attr.int(1),
    rotary_interleaved: attr.int(0),
    // A token sees itself and the `local_window_size - 1` before it, as in Transformers; -1 is no window. Before 1.24,
    // ONNX Runtime counted one token more, so a window that the context never fills is better left out.
    local_window_size: attr.int(slidingWindow < spec.contextLength ? slidingWindow : -1),
  };
}

/** The same for heads that the operator refuses. The caches keep the true width outside. */
function widenedAttention(g: GraphBuilder, qkv: string, index: number, config: DecoderConfig): string {
  const { numAttentionHeads, numKeyValueHeads, headDim } = config.spec;
  const heads = sideBySide(numAttentionHeads + 2 * numKeyValueHeads);
  const widePast = (part: string) => widenHeads(g, `past_key_values.${index}.${part}`, CACHE_LAYOUT, headDim);
  const past = { key: widePast('key'), value: widePast('value') };
  const present = { key: g.fresh('wide_key'), value: g.fresh('wide_value') };
  const attended = groupQueryAttention(g, widenHeads(g, qkv, heads, headDim), index, config, past, present);
  narrowHeads(g, present.key, CACHE_LAYOUT, headDim, `present.${index}.key`);
  narrowHeads(g, present.value, CACHE_LAYOUT, headDim, `present.${index}.value`);
  return narrowHeads(g, attended, sideBySide(numAttentionHeads), headDim, g.fresh('narrow'));
}
