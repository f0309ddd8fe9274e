/** Decoders of made-up weights, built by the converters and rewrites that build real ones: a host's costs are fitted to them. */
import { openModel } from '../../../converters/index.ts';
import type { Checkpoint } from '../../core/checkpoint.ts';
import { byteLength, elementCount } from '../../core/dtype.ts';
import type { Graph } from '../../core/graph.ts';
import { ffnBlock } from '../../core/model.ts';
import { normalQuantile } from '../../core/normal-quantile.ts';
import { type BlockPlan, PLAN_FORMAT, PLAN_VERSION, type Plan, type PlanTensors } from '../../core/plan.ts';
import { bytesPerWeight, type HostDtype, precisionNamed } from '../../core/precision.ts';
import {
  type BytesTensor,
  cast,
  concatRows,
  float32Tensor,
  multiplyConstant,
  type QuantizeTensor,
  type TensorExpr,
  type TypedExpr,
} from '../../core/tensor.ts';
import type { StepShape } from '../../plan/index.ts';
import { applyPlan, fuseDecoderParts } from '../../rewrite/index.ts';
import { denseGraph } from '../folder/source.ts';

/** What all blocks of a probe leave out. */
type ProbeWork = Pick<BlockPlan, 'skip'> & { readonly density?: number };

export interface Probe extends ProbeWork {
  readonly name: string;
  readonly shape: StepShape;
  readonly promptTokens: number;
}

/** Tokens that the longest probe reads and decodes, at most. */
export const PROBE_TOKENS = 640;

const SMALL = { hiddenSize: 576, intermediateSize: 1536, numAttentionHeads: 9, numKeyValueHeads: 3, headDim: 64 };
const WIDE = { hiddenSize: 1024, intermediateSize: 4096, numAttentionHeads: 16, numKeyValueHeads: 4, headDim: 64 };

/** Megabytes of a probe's weights: many times the caches near a core, so that they come from where a real model's do. */
export const USUAL_MEGABYTES = 128;

/** Past these, small operators alone would take the time. */
const MOST_LAYERS = 64;

/** The probes that tell the costs of a precision apart: few and many layers, small and large matrices, head, cache, choices, skips. */
export function probesFor(dtype: HostDtype, megabytes: number): readonly Probe[] {
  const bytes = 1e6 * megabytes;
  const precision = precisionNamed(dtype);
  const deep = (base: typeof SMALL) => {
    const { numAttentionHeads, numKeyValueHeads, headDim, hiddenSize, intermediateSize } = base;
    const weights = hiddenSize * (3 * intermediateSize + 2 * headDim * (numAttentionHeads + numKeyValueHeads));
    const layers = Math.round(bytes / (weights * bytesPerWeight(precision)));
    return { ...base, numHiddenLayers: Math.max(1, Math.min(MOST_LAYERS, layers)), vocabSize: 4096 };
  };
  const [small, wide] = [deep(SMALL), deep(WIDE)];
  const rowBytes = SMALL.hiddenSize * bytesPerWeight({ ...precision, linear: precision.vocabulary });
  const headed = { ...SMALL, numHiddenLayers: 1, vocabSize: 32 * Math.round(bytes / (32 * rowBytes)) };
  const shallow = { ...small, numHiddenLayers: Math.ceil(small.numHiddenLayers / 2) };
  const promptTokens = 96;
  return [
    { name: 'small blocks', shape: small, promptTokens },
    { name: 'half as many', shape: shallow, promptTokens },
    { name: 'large blocks', shape: wide, promptTokens },
    { name: 'a large head', shape: headed, promptTokens },
    { name: 'many cached tokens', shape: shallow, promptTokens: 512 },
    { name: 'half of the neurons', shape: small, promptTokens, density: 0.5 },
    { name: 'a tenth of the neurons', shape: small, promptTokens, density: 0.1 },
    { name: 'a fifth of large blocks', shape: wide, promptTokens, density: 0.2 },
    // Above every cosine, and below.
    { name: 'tests that skip nothing', shape: small, promptTokens, skip: { threshold: 2, runLength: 3 } },
    { name: 'tests that skip most', shape: small, promptTokens, skip: { threshold: -1, runLength: 3 } },
  ];
}

/** The graph of a probe in a precision, and its blocks as a plan has them. */
export function probeGraph({ shape, ...work }: Probe, dtype: HostDtype): { graph: Graph; blocks: BlockPlan[] } {
  const dense = denseGraph(openModel(checkpointOf(shape), { precision: precisionNamed(dtype) }));
  const plan = planOf(shape, work);
  const tensors: PlanTensors = new Map([
    [SCORES, { shape: [shape.intermediateSize], data: new Float32Array(shape.intermediateSize).fill(1) }],
  ]);
  const graph = plan.blocks.length === 0 ? dense : applyPlan(dense, plan, tensors).graph;
  return { graph: withMadeUpCodes(fuseDecoderParts(graph)), blocks: plan.blocks };
}

const SCORES = 'scores';

function planOf(shape: StepShape, { density, skip }: ProbeWork): Plan {
  const choice = density === undefined ? undefined : choiceOf(density);
  const isDense = choice === undefined && skip === undefined;
  // A threshold that every cosine reaches lets one block in `runLength` + 1 run.
  const isSkipped = (layer: number) => skip !== undefined && skip.threshold <= -1 && layer % (skip.runLength + 1) > 0;
  const block = (layer: number): BlockPlan => ({
    block: ffnBlock(layer),
    ...(choice && { choice }),
    ...(skip && { skip }),
    expected: { density, skipped: isSkipped(layer) ? 1 : 0, bytesPerToken: 0 },
    why: 'measures the host',
  });
  return {
    format: PLAN_FORMAT,
    version: PLAN_VERSION,
    preset: 'probe',
    host: { kind: 'native' },
    model: {
      modelType: 'llama',
      fingerprint: '',
      numHiddenLayers: shape.numHiddenLayers,
      hiddenSize: shape.hiddenSize,
      intermediateSize: shape.intermediateSize,
    },
    statistics: '',
    tensors: null,
    target: { kind: 'density', value: density ?? 1 },
    prefill: 'sparse',
    skipping: { warmUpTokens: 0, reArm: true },
    blocks: isDense ? [] : Array.from({ length: shape.numHiddenLayers }, (_, layer) => block(layer)),
  };
}

/** Gates are standard normal, so the threshold for a share of them is known; which ones pass varies by token, as in texts. */
function choiceOf(density: number): NonNullable<BlockPlan['choice']> {
  return {
    measure: 'activation',
    cut: { kind: 'absolute', threshold: siluQuantile(1 - density) },
    rest: 'nothing',
    tensors: { weights: SCORES },
  };
}

/** The quantile of |silu(g)| for a standard normal g, from this many evenly spaced quantiles of g. */
const QUANTILES = 4096;

function siluQuantile(share: number): number {
  const gates = Array.from({ length: QUANTILES }, (_, i) => normalQuantile((i + 0.5) / QUANTILES));
  return gates.map((gate) => Math.abs(gate / (1 + Math.exp(-gate)))).sort((a, b) => a - b)[
    Math.floor(share * QUANTILES)
  ];
}

function checkpointOf(shape: StepShape): Checkpoint {
  const { hiddenSize: hidden, intermediateSize: neurons, numHiddenLayers: layers, vocabSize } = shape;
  const [queries, keys] = [shape.numAttentionHeads, shape.numKeyValueHeads].map((heads) => heads * shape.headDim);
  const layer = {
    'input_layernorm.weight': [hidden],
    'post_attention_layernorm.weight': [hidden],
    'self_attn.q_proj.weight': [queries, hidden],
    'self_attn.k_proj.weight': [keys, hidden],
    'self_attn.v_proj.weight': [keys, hidden],
    'self_attn.o_proj.weight': [hidden, queries],
    'mlp.gate_proj.weight': [neurons, hidden],
    'mlp.up_proj.weight': [neurons, hidden],
    'mlp.down_proj.weight': [hidden, neurons],
  };
  const shapes: [string, readonly number[]][] = [
    ['model.embed_tokens.weight', [vocabSize, hidden]],
    ...Array.from({ length: layers }, (_, at) => at).flatMap((at) =>
      Object.entries(layer).map(([name, size]): [string, readonly number[]] => [`model.layers.${at}.${name}`, size]),
    ),
    ['model.norm.weight', [hidden]],
  ];
  return {
    path: 'the probe',
    config: {
      model_type: 'llama',
      architectures: ['LlamaForCausalLM'],
      vocab_size: vocabSize,
      hidden_size: hidden,
      intermediate_size: neurons,
      num_hidden_layers: layers,
      num_attention_heads: shape.numAttentionHeads,
      num_key_value_heads: shape.numKeyValueHeads,
      head_dim: shape.headDim,
      max_position_embeddings: 4096,
      tie_word_embeddings: true,
    },
    generationConfig: undefined,
    tensors: new Map(shapes.map(([name, size], place) => [name, madeUp(size, place)])),
    files: new Map(),
    fingerprint: '',
  };
}

/** Norms of 1; matrices with rows of length 1, so that a normed input has products of deviation 1. */
function madeUp(shape: readonly number[], place: number): TensorExpr {
  if (shape.length === 1) return float32Tensor(new Float32Array(shape[0]).fill(1));
  // Entries are evenly spread from -1 to 1, whose variance is 1 / 3.
  return multiplyConstant(filled('floats', { dtype: 'float32', shape }, place), Math.sqrt(3 / shape[1]));
}

/** The graph with random codes in place of those that a search would find: a kernel takes as long, and writing is quick. */
function withMadeUpCodes(graph: Graph): Graph {
  // The same for every tensor that is made of a matrix, as a head and an embedding that share it.
  const places = new Map<TensorExpr, number>();
  const codesOf = (expr: QuantizeTensor): TensorExpr => {
    const place = places.get(expr.from) ?? places.size;
    places.set(expr.from, place);
    return expr.dtype === 'uint8' ? filled('bytes', expr, place) : scalesOf(expr, place);
  };
  const initializers = graph.initializers.map(({ name, data }) => ({ name, data: withoutSearch(data, codesOf) }));
  return { ...graph, initializers };
}

function withoutSearch(expr: TensorExpr, codesOf: (expr: QuantizeTensor) => TensorExpr): TensorExpr {
  switch (expr.kind) {
    case 'quantize':
      return codesOf(expr);
    case 'concat':
    case 'records':
      return { ...expr, parts: expr.parts.map((part) => withoutSearch(part, codesOf)) };
    case 'cast':
    case 'transpose':
    case 'rows':
    case 'regroup':
      return { ...expr, from: withoutSearch(expr.from, codesOf) };
    default:
      return expr;
  }
}

/**
 * Evenly spread codes of b bits have a deviation of 2^b / sqrt(12), and their mean lies half a code off the zero. So signs of
 * scales are random: otherwise all neurons would turn one way, more so from layer to layer.
 */
function scalesOf({ shape, scheme, from }: QuantizeTensor, place: number): TensorExpr {
  const scale = Math.sqrt(12 / from.shape[1]) / 2 ** scheme.bits;
  const signs = poolOf('bytes');
  const start = place * STRIDE;
  const signed = (at: number) => ((signs[(start + at) % POOL_BYTES] & 1) === 0 ? scale : -scale);
  const values = new Float32Array(elementCount(shape)).map((_, at) => signed(at));
  return cast(float32Tensor(values, shape), 'float16');
}

/** What made-up weights are cut from. */
const POOL_BYTES = 32 << 20;

type PoolKind = 'floats' | 'bytes';

const pools = new Map<PoolKind, Uint8Array>();

function poolOf(kind: PoolKind): Uint8Array {
  const pool = pools.get(kind) ?? randomBytes(kind);
  pools.set(kind, pool);
  return pool;
}

/** Marsaglia's xorshift (2003), whose bytes are all random enough for arithmetic. */
function randomBytes(kind: PoolKind): Uint8Array {
  const words = new Int32Array(POOL_BYTES / 4);
  let state = 1;
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state;
  }
  return new Uint8Array(kind === 'bytes' ? words.buffer : new Float32Array(words).map((word) => word / 2 ** 31).buffer);
}

/** Bytes from one matrix's part of the pool to the next one's: no whole number of any row, so that no two rows are equal. */
const STRIDE = 4 * 99_991;

/** A tensor of random entries, in parts that each fit in half of the pool. Tensors of other places have other entries. */
function filled(kind: PoolKind, { dtype, shape }: TypedExpr, place: number): TensorExpr {
  const pool = poolOf(kind);
  const half = POOL_BYTES / 2;
  const [rows, ...rest] = shape;
  const rowBytes = byteLength(dtype, rest);
  const most = Math.max(1, Math.floor(half / rowBytes));
  const parts = Array.from({ length: Math.ceil(rows / most) }, (_, at): BytesTensor => {
    const count = Math.min(most, rows - at * most);
    const start = ((place + at) * STRIDE) % half;
    return { kind: 'bytes', dtype, shape: [count, ...rest], bytes: pool.subarray(start, start + count * rowBytes) };
  });
  return parts.length === 1 ? parts[0] : concatRows(parts);
}
