/** Grouped-query attention (Ainslie et al. 2023) with rotary positions and its cache, in one GroupQueryAttention. */
import { type Attribute, attr, CONTRIB_DOMAIN, type Initializer, type ValueInfo } from '../../src/core/graph.ts';
import { GraphBuilder, value } from '../../src/core/graph-builder.ts';
import { type ModelSpec, tapName } from '../../src/core/model.ts';
import { attentionQuantiles, sparkAttentionScope, writeSparkAttention } from '../../src/core/spark-attention.ts';
import { cast, concatRows, float32Tensor, stackQuantized, type TensorExpr } from '../../src/core/tensor.ts';
import type { DecoderConfig, FewKeys } from '../config/decoder-config.ts';
import type { Weight, Weights } from '../weights.ts';
import { CACHE_LAYOUT, narrowHeads, sideBySide, widenHeads } from './head-width.ts';
import type { DecoderParts, Floats } from './parts.ts';
import { linear } from './product.ts';
import { rmsNorm } from './rms-norm.ts';

/** Whether present may be past's own buffer. Heads of other widths are widened on their way in and out: a copy. */
export function sharesCacheBuffer(spec: Pick<ModelSpec, 'headDim'>): boolean {
  return spec.headDim % 16 === 0;
}

/** Layer `index`'s incoming cache, each float [b, kv heads, past, head]. */
export function cacheInputs(index: number, spec: ModelSpec, floats: Floats): ValueInfo[] {
  return caches(`past_key_values.${index}`, 'past_sequence_length', spec, floats);
}

/** Layer `index`'s cache with the new tokens in it. */
export function cacheOutputs(index: number, spec: ModelSpec, floats: Floats): ValueInfo[] {
  return caches(`present.${index}`, 'total_sequence_length', spec, floats);
}

function caches(prefix: string, length: string, spec: ModelSpec, floats: Floats): ValueInfo[] {
  const shape = ['batch_size', spec.numKeyValueHeads, length, spec.headDim];
  return ['key', 'value'].map((part) => value(`${prefix}.${part}`, floats, shape));
}

/** Names of float [b, s, heads * head]: query, key and value separately, or all three side by side. */
type Projected = readonly [query: string, key: string, value: string] | readonly [all: string];

/** x [b, s, hidden] -> attention's `output` [b, s, hidden], not normed or added yet. The tap attended is on the way. */
export function attention(
  g: GraphBuilder,
  x: string,
  index: number,
  parts: DecoderParts,
  output = g.fresh('o_proj'),
): string {
  const { config, weights } = parts;
  const prefix = `model.layers.${index}.self_attn`;
  const project = config.traits.normsHeads ? projectAndNorm : projectAtOnce;
  const attended =
    config.fewKeys === undefined
      ? attend(g, project(g, x, prefix, parts), index, parts)
      : sparkAttention(g, projectAtOnce(g, x, prefix, parts)[0], index, parts, config.fewKeys);
  const outBias = config.biases.has('attention_output') ? weights(`${prefix}.o_proj.bias`) : undefined;
  return linear(g, attended, weights(`${prefix}.o_proj.weight`), outBias, output);
}

function attend(...given: Parameters<typeof groupQueryAttention>): string {
  return (sharesCacheBuffer(given[3].config.spec) ? groupQueryAttention : widenedAttention)(...given);
}

/** Attention to few keys, in standard operators. */
function sparkAttention(
  g: GraphBuilder,
  projected: string,
  index: number,
  { config, floats, partRotary }: DecoderParts,
  { predictorSize, attendedTokens }: FewKeys,
): string {
  const { numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim, contextLength } = config.spec;
  const { rope } = config.layers[index];
  const tables = (part: string, width: number) => {
    const { cos, sin } = partRotary(rope, width);
    const table = (name: string, data: TensorExpr) => g.initializer(`${rope}.${part}.${name}`, cast(data, floats));
    return [table('cos', cos), table('sin', sin)];
  };
  const [cosines, sines] = tables('predictor', predictorSize);
  const [other_cosines, other_sines] = tables('others', headDim - predictorSize);
  const quantiles = g.initializer('attention.quantiles', attentionQuantiles(attendedTokens, contextLength));
  const past = cacheNames(`past_key_values.${index}`);
  const present = cacheNames(`present.${index}`);
  const y = tapName(index, 'attended');
  const own = new GraphBuilder(sparkAttentionScope(index));
  writeSparkAttention(
    own,
    {
      projected,
      past_key: past.key,
      past_value: past.value,
      seqlens_k: 'seqlens_k',
      total_sequence_length: 'total_sequence_length',
      quantiles,
      cosines,
      sines,
      other_cosines,
      other_sines,
    },
    { y, present_key: present.key, present_value: present.value },
    { heads, kvHeads, headDim, predictorSize, softcap: config.attentionSoftcap, floats },
  );
  g.nodes.push(...own.nodes);
  return y;
}

/** Query, key and value as one product: one operator instead of three, with neighbouring rows in memory. */
function projectAtOnce(
  g: GraphBuilder,
  x: string,
  prefix: string,
  { config, weights }: DecoderParts,
): readonly [all: string] {
  const bias = config.biases.has('qkv') ? packed(prefix, 'bias', weights) : undefined;
  return [linear(g, x, packed(prefix, 'weight', weights), bias)];
}

/** Query, key and value, one under the other: [(heads + 2 kv heads) * head, hidden]; or their biases. */
function packed(prefix: string, part: 'weight' | 'bias', weights: Weights): Weight {
  const parts = ['q_proj', 'k_proj', 'v_proj'].map((projection) => weights(`${prefix}.${projection}.${part}`));
  const data = concatRows(parts.map((one) => one.data));
  const rounded = parts.map((one) => one.rounded).filter((one) => one !== undefined);
  // All three read the same input, so they share its importances.
  return {
    ...parts[0],
    name: `${prefix}.qkv_proj.${part}`,
    data,
    rounded: rounded.length === parts.length ? stackQuantized(rounded) : undefined,
  };
}

/** Query, key and value apart, because each head of the first two is normed by itself (Henry et al. 2020). */
function projectAndNorm(g: GraphBuilder, x: string, prefix: string, parts: DecoderParts): Projected {
  const { config, weights } = parts;
  const { numAttentionHeads, numKeyValueHeads } = config.spec;
  const project = (name: string) => {
    const bias = config.biases.has('qkv') ? weights(`${prefix}.${name}.bias`) : undefined;
    return linear(g, x, weights(`${prefix}.${name}.weight`), bias);
  };
  return [
    normHeads(g, project('q_proj'), numAttentionHeads, parts.normWeights(`${prefix}.q_norm.weight`), parts),
    normHeads(g, project('k_proj'), numKeyValueHeads, parts.normWeights(`${prefix}.k_norm.weight`), parts),
    config.traits.normsValues
      ? normHeads(g, project('v_proj'), numKeyValueHeads, ones(parts), parts)
      : project('v_proj'),
  ];
}

/** The weights of a norm that has none. */
function ones({ config, floats }: DecoderParts): Initializer {
  const { headDim } = config.spec;
  return { name: 'norm.ones', data: cast(float32Tensor(new Float32Array(headDim).fill(1)), floats) };
}

/** Each head of x [b, s, heads * head], normed. */
export function normHeads(
  g: GraphBuilder,
  x: string,
  heads: number,
  weight: Initializer,
  { config: { spec, rmsNormEps } }: DecoderParts,
): string {
  const apart = g.op('Reshape', [x, g.int64(0, 0, heads, spec.headDim)]);
  const normed = rmsNorm(g, apart, weight, rmsNormEps);
  return g.op('Reshape', [normed, g.int64(0, 0, heads * spec.headDim)]);
}

function cacheNames(prefix: string) {
  return { key: `${prefix}.key`, value: `${prefix}.value` };
}

/** Query, key and value -> [b, s, heads * head], with the caches by their names in the graph. */
function groupQueryAttention(
  g: GraphBuilder,
  [query, key = '', value = '']: Projected,
  index: number,
  { config, floats, rotary }: DecoderParts,
  past = cacheNames(`past_key_values.${index}`),
  present = cacheNames(`present.${index}`),
  output = tapName(index, 'attended'),
): string {
  const { rope } = config.layers[index];
  const { cos, sin } = rotary(rope);
  const tables = [g.initializer(`${rope}.cos`, cast(cos, floats)), g.initializer(`${rope}.sin`, cast(sin, floats))];
  const inputs = [query, key, value, past.key, past.value, 'seqlens_k', 'total_sequence_length', ...tables];
  const outputs = [output, present.key, present.value];
  const options = { domain: CONTRIB_DOMAIN, attributes: attributes(config, index), outputs };
  return g.ops('GroupQueryAttention', inputs, options)[0];
}

function attributes(config: DecoderConfig, index: number): Record<string, Attribute> {
  const { spec, attentionScale, attentionSoftcap } = config;
  const { slidingWindow = Infinity } = config.layers[index];
  return {
    num_heads: attr.int(spec.numAttentionHeads),
    kv_num_heads: attr.int(spec.numKeyValueHeads),
    scale: attr.float(attentionScale),
    do_rotary: attr.int(1),
    rotary_interleaved: attr.int(0),
    // A token sees itself and the `local_window_size - 1` before it, as in Transformers; -1 means no window. Before
    // 1.24, ONNX Runtime counted one token more, so a window that the context never fills is left out.
    local_window_size: attr.int(slidingWindow < spec.contextLength ? slidingWindow : -1),
    ...(attentionSoftcap === undefined ? {} : { softcap: attr.float(attentionSoftcap) }),
  };
}

/** The same for heads that the operator refuses. Outside, the caches keep the true width. */
function widenedAttention(g: GraphBuilder, projected: Projected, index: number, parts: DecoderParts): string {
  const { numAttentionHeads: queries, numKeyValueHeads: keys, headDim } = parts.config.spec;
  const widen = (x: string, heads: number) => widenHeads(g, x, sideBySide(heads), headDim);
  const [query, key = '', value = ''] = projected;
  const wide: Projected =
    key === '' ? [widen(query, queries + 2 * keys)] : [widen(query, queries), widen(key, keys), widen(value, keys)];
  const widePast = (part: string) => widenHeads(g, `past_key_values.${index}.${part}`, CACHE_LAYOUT, headDim);
  const past = { key: widePast('key'), value: widePast('value') };
  const present = { key: g.fresh('wide_key'), value: g.fresh('wide_value') };
  const attended = groupQueryAttention(g, wide, index, parts, past, present, g.fresh('wide'));
  narrowHeads(g, present.key, CACHE_LAYOUT, headDim, `present.${index}.key`);
  narrowHeads(g, present.value, CACHE_LAYOUT, headDim, `present.${index}.value`);
  return narrowHeads(g, attended, sideBySide(queries), headDim, tapName(index, 'attended'));
}
