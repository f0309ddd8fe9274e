/** Grouped-query attention (Ainslie et al. 2023) with rotary positions and its cache, in one GroupQueryAttention. */
import { type Attribute, attr, CONTRIB_DOMAIN, type Initializer, type ValueInfo } from '../../src/core/graph.ts';
import { type GraphBuilder, value } from '../../src/core/graph-builder.ts';
import type { ModelSpec } from '../../src/core/model.ts';
import { concatRows } from '../../src/core/tensor.ts';
import type { DecoderConfig } from '../config/decoder-config.ts';
import type { Weights } from '../weights.ts';
import { linear } from './linear.ts';
import { ROTARY_COS, ROTARY_SIN, type RotaryTables, rotaryColumns } from './rotary.ts';

/**
 * Whether past and present may be one buffer of full length that attention writes into. Heads that are no multiple of
 * 16 wide are widened on their way in and out, so there present is a copy.
 */
export function sharesCacheBuffer(spec: Pick<ModelSpec, 'headDim'>): boolean {
  return spec.headDim % 16 === 0;
}

/** Layer `index`'s cache as it comes in, each float [b, kv heads, past, head]. */
export function cacheInputs(index: number, spec: ModelSpec): ValueInfo[] {
  return ['key', 'value'].map((part) => cache(`past_key_values.${index}.${part}`, 'past_sequence_length', spec));
}

/** Layer `index`'s cache with the new tokens in it. */
export function cacheOutputs(index: number, spec: ModelSpec): ValueInfo[] {
  return ['key', 'value'].map((part) => cache(`present.${index}.${part}`, 'total_sequence_length', spec));
}

function cache(name: string, length: string, spec: ModelSpec): ValueInfo {
  return value(name, 'float32', ['batch_size', spec.numKeyValueHeads, length, spec.headDim]);
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
  const bias = (of: () => Initializer) => (config.attentionBias ? of() : undefined);
  const qkvBias = bias(() => packed(prefix, 'bias', weights));
  const qkv = linear(g, x, packed(prefix, 'weight', weights), qkvBias);
  g.initializer(ROTARY_COS, rotary.cos);
  g.initializer(ROTARY_SIN, rotary.sin);
  const attend = sharesCacheBuffer(config.spec) ? groupQueryAttention : widenedAttention;
  const attended = attend(g, qkv, index, config);
  const outBias = bias(() => weights(`${prefix}.o_proj.bias`));
  return linear(g, attended, weights(`${prefix}.o_proj.weight`), outBias);
}

/** Query, key and value, one under the other: [(heads + 2 kv heads) * head, hidden], or the same of their biases. */
function packed(prefix: string, part: 'weight' | 'bias', weights: Weights): Initializer {
  const parts = ['q_proj', 'k_proj', 'v_proj'].map((projection) => weights(`${prefix}.${projection}.${part}`).data);
  return { name: `${prefix}.qkv_proj.${part}`, data: concatRows(parts) };
}

interface CacheNames {
  readonly key: string;
  readonly value: string;
}

/** qkv [b, s, (heads + 2 kv heads) * head] -> [b, s, heads * head]; the caches by their names in the graph. */
function groupQueryAttention(
  g: GraphBuilder,
  qkv: string,
  index: number,
  config: DecoderConfig,
  past: CacheNames = { key: `past_key_values.${index}.key`, value: `past_key_values.${index}.value` },
  present: CacheNames = { key: `present.${index}.key`, value: `present.${index}.value` },
): string {
  const inputs = [qkv, '', '', past.key, past.value, 'seqlens_k', 'total_sequence_length', ROTARY_COS, ROTARY_SIN];
  const outputs = [g.fresh('attended'), present.key, present.value];
  return g.ops('GroupQueryAttention', inputs, { domain: CONTRIB_DOMAIN, attributes: attributes(config), outputs })[0];
}

function attributes({ spec, slidingWindow }: DecoderConfig): Record<string, Attribute> {
  return {
    num_heads: attr.int(spec.numAttentionHeads),
    kv_num_heads: attr.int(spec.numKeyValueHeads),
    scale: attr.float(spec.headDim ** -0.5),
    do_rotary: attr.int(1),
    rotary_interleaved: attr.int(0),
    // A token sees itself and the `local_window_size - 1` before it, as Transformers counts; -1 is no window.
    local_window_size: attr.int(slidingWindow ?? -1),
  };
}

/**
 * The same for heads that are no multiple of 16 wide, which the operator refuses: both halves of each head (rotary
 * turns one against the other) are widened by zeros, which change no product, and cut again. The caches keep the true
 * width outside.
 */
function widenedAttention(g: GraphBuilder, qkv: string, index: number, config: DecoderConfig): string {
  const { spec } = config;
  const half = spec.headDim / 2;
  const wideHalf = rotaryColumns(spec.headDim);
  const halves = (heads: number, size: number) => [0, 0, heads, 2, size];
  const widen = (x: string, split: readonly number[], joined: readonly number[]) => {
    const pads = [...Array<number>(9).fill(0), wideHalf - half];
    const padded = g.op('Pad', [g.op('Reshape', [x, g.int64(...split)]), g.int64(...pads)]);
    return g.op('Reshape', [padded, g.int64(...joined)]);
  };
  const narrow = (x: string, split: readonly number[], joined: readonly number[], output: string) => {
    const cut = g.op('Slice', [g.op('Reshape', [x, g.int64(...split)]), g.int64(0), g.int64(half), g.int64(4)]);
    return g.op('Reshape', [cut, g.int64(...joined)], { outputs: [output] });
  };
  const allHeads = spec.numAttentionHeads + 2 * spec.numKeyValueHeads;
  const wideQkv = widen(qkv, halves(allHeads, half), [0, 0, allHeads * 2 * wideHalf]);
  const widePast = (part: string) =>
    widen(`past_key_values.${index}.${part}`, [0, 0, 0, 2, half], [0, 0, 0, 2 * wideHalf]);
  const past = { key: widePast('key'), value: widePast('value') };
  const present = { key: g.fresh('wide_key'), value: g.fresh('wide_value') };
  const attended = groupQueryAttention(g, wideQkv, index, config, past, present);
  narrow(present.key, [0, 0, 0, 2, wideHalf], [0, 0, 0, spec.headDim], `present.${index}.key`);
  narrow(present.value, [0, 0, 0, 2, wideHalf], [0, 0, 0, spec.headDim], `present.${index}.value`);
  const queries = spec.numAttentionHeads;
  return narrow(attended, halves(queries, wideHalf), [0, 0, queries * spec.headDim], g.fresh('narrow'));
}
