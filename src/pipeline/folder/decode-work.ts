/** What decoding one token costs, counted from a graph: the multiplications and the bytes that they read. */
import { byteLength, DTYPE_BYTES, elementCount } from '../../core/dtype.ts';
import type { Graph, Node } from '../../core/graph.ts';
import { normalShare } from '../../core/normal-quantile.ts';
import { layerOfBlock, type Plan } from '../../core/plan.ts';
import type { TensorExpr } from '../../core/tensor.ts';
import { contractOf, inputOf, operatorOf, recordedBy, variantOfNode } from '../../ops/index.ts';
import { readFloats } from '../../tensors/index.ts';

/**
 * Products of weights, and attention's of queries, keys and values. An addition counts beside each multiplication, so a
 * product of a matrix takes two operations a weight. Norms, activations, softmax and choices are left out.
 */
export interface DecodeWork {
  /** Tokens in the cache before. */
  readonly cachedTokens: number;
  /** Floating-point operations, the output head's apart. */
  readonly flops: number;
  readonly headFlops: number;
  /** Of weights and of caches. Chosen keys are counted for each head, also where several heads choose the same. */
  readonly weightBytes: number;
  readonly headBytes: number;
  readonly cacheBytes: number;
}

interface Work {
  readonly multiplications: number;
  readonly weightBytes: number;
  readonly cacheBytes?: number;
}

/**
 * Counts by kernels: only rows that are chosen are read. What a threshold chooses is what `plan` expects of the block;
 * what a quantile chooses is its share of the normal distribution. Attention that is made of standard operators, as of
 * layers without caches of their own, is not counted, and neither are embeddings.
 */
export async function decodeWork(
  graph: Graph,
  cachedTokens: number,
  plan: Pick<Plan, 'blocks'> | null = null,
): Promise<DecodeWork> {
  const tensors = new Map(graph.initializers.map(({ name, data }) => [name, data]));
  const producers = new Map(graph.nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)));
  const context: Context = { graph, tensors, producers, visible: cachedTokens + 1, plan };
  const words = graph.outputs.find(({ name }) => name === 'logits')?.shape.at(-1);
  let [flops, headFlops, weightBytes, headBytes, cacheBytes] = [0, 0, 0, 0, 0];
  for (const node of graph.nodes) {
    const work = await workOf(node, context);
    if (work === undefined) continue;
    const operations = 2 * work.multiplications;
    if (rowsOfProduct(node, context) === words) {
      headFlops += operations;
      headBytes += work.weightBytes;
    } else {
      flops += operations;
      weightBytes += work.weightBytes;
    }
    cacheBytes += work.cacheBytes ?? 0;
  }
  return { cachedTokens, flops, headFlops, weightBytes, headBytes, cacheBytes };
}

interface Context {
  readonly graph: Graph;
  readonly tensors: ReadonlyMap<string, TensorExpr>;
  readonly producers: ReadonlyMap<string, Node>;
  /** Keys that the token sees. */
  readonly visible: number;
  readonly plan: Pick<Plan, 'blocks'> | null;
}

async function workOf(node: Node, context: Context): Promise<Work | undefined> {
  switch (operatorOf(node) ?? node.opType) {
    case 'FusedMatMul':
    case 'MatMul':
    case 'MatMulNBits':
      return productWork(node, context);
    case 'NormProduct':
      return {
        multiplications: weightsBy(inputOf('NormProduct', node, 'weight_scales'), context),
        weightBytes: bytesOf(node.inputs.slice(3), context),
      };
    case 'GroupQueryAttention':
      return attendWork(node, node.inputs[3], context);
    case 'NormAttention':
      return normAttentionWork(node, context);
    case 'SparkAttention':
      return sparkAttentionWork(node, context);
    case 'GatedFFN':
      return ffnWork(node, context);
    default:
      return undefined;
  }
}

function productWork(node: Node, context: Context): Work | undefined {
  const sources = sourcesOf(node.inputs[1], context);
  if (sources.length === 0) return undefined;
  const { K, N } = node.attributes;
  const size = K?.kind === 'int' && N?.kind === 'int' ? K.value * N.value : elementCount(sources[0].shape);
  return { multiplications: size, weightBytes: bytesOf(node.inputs.slice(1), context) };
}

/** Rows of the matrix that a product multiplies by. */
function rowsOfProduct(node: Node, context: Context): number | undefined {
  if (operatorOf(node) === 'NormProduct') return context.tensors.get(inputOf('NormProduct', node, 'weight'))?.shape[0];
  if (node.attributes.N?.kind === 'int') return node.attributes.N.value;
  if (!['FusedMatMul', 'MatMul'].includes(node.opType)) return undefined;
  const [source] = sourcesOf(node.inputs[1], context);
  // Those of MatMul stand the other way round, unless a Transpose comes between.
  const isTurned = node.opType === 'MatMul' && context.producers.get(node.inputs[1])?.opType !== 'Transpose';
  return source?.shape[isTurned ? 1 : 0];
}

/** Scores and values of all keys that are visible, or in the window. */
function attendWork(node: Node, past: string, context: Context): Work {
  const window = numberOf(node, 'local_window_size');
  const [kvHeads, headDim, entry] = cacheShape(past, context);
  const seen = window > 0 ? Math.min(window, context.visible) : context.visible;
  return {
    multiplications: 2 * numberOf(node, 'num_heads') * headDim * seen,
    weightBytes: 0,
    cacheBytes: 2 * kvHeads * headDim * seen * entry,
  };
}

function normAttentionWork(node: Node, context: Context): Work {
  const attending = attendWork(node, inputOf('NormAttention', node, 'past_key'), context);
  const projections = (['query_scales', 'key_scales', 'value_scales', 'output_scales'] as const).map((name) =>
    weightsBy(inputOf('NormAttention', node, name), context),
  );
  // Up to the caches.
  const weights = node.inputs.slice(
    3,
    contractOf('NormAttention').inputs.findIndex(({ name }) => name === 'past_key'),
  );
  return {
    ...attending,
    multiplications: attending.multiplications + projections.reduce((sum, count) => sum + count, 0),
    weightBytes: bytesOf(weights, context),
  };
}

/** The first entries of all keys, and of chosen ones the others and their values. */
async function sparkAttentionWork(node: Node, context: Context): Promise<Work> {
  const { tensors, visible } = context;
  const heads = numberOf(node, 'num_heads');
  const predictor = numberOf(node, 'predictor_size');
  const [kvHeads, headDim, entry] = cacheShape(inputOf('SparkAttention', node, 'past_key'), context);
  const table = tensors.get(inputOf('SparkAttention', node, 'quantiles'));
  const quantiles = table === undefined ? new Float32Array() : await readFloats(table);
  const attended = visible * (1 - normalShare(quantiles[Math.min(visible, quantiles.length) - 1] ?? -Infinity));
  const ofChosen = heads * attended * (2 * headDim - predictor);
  return {
    multiplications: heads * visible * predictor + ofChosen,
    weightBytes: 0,
    cacheBytes: (kvHeads * visible * predictor + ofChosen) * entry,
  };
}

function ffnWork(node: Node, context: Context): Work {
  const variant = variantOfNode(node);
  const { density, ran } = sharesOf(node, context);
  const has = (input: Parameters<typeof inputOf<'GatedFFN'>>[2]) => inputOf('GatedFFN', node, input);
  const bytes = (...inputs: Parameters<typeof has>[0][]) => bytesOf(inputs.map(has), context);
  const { hidden, neurons, gateInputs, upInputs } = ffnSizes(node, context);
  const rows = recordedBy(variant.choice);
  const share = (matrix: 'gate' | 'up' | 'down') => (rows.includes(matrix) ? density : 1);
  const products =
    neurons * (share('gate') * gateInputs + share('up') * upInputs + (variant.choice ? density : 1) * hidden);
  const predicted = has('predictor') === '' ? 0 : 2 * neurons * hidden;
  // gate and up of one matrix are halves of it; what is in records is read there.
  const stacked = bytes('gate_up', 'gate_up_scales') / 2;
  const matrices = {
    gate: stacked || bytes('gate', 'gate_scales', 'gate_zero_points'),
    up: stacked || bytes('up', 'up_scales', 'up_zero_points'),
    down: bytes('down', 'down_scales', 'down_zero_points'),
  };
  const isRecorded = has('records') !== '';
  const read = (['gate', 'up', 'down'] as const).map((matrix) =>
    rows.includes(matrix) && isRecorded ? 0 : share(matrix) * matrices[matrix],
  );
  const weightBytes =
    read.reduce((sum, count) => sum + count, 0) + density * bytes('records') + bytes('predictor', 'predictor_scales');
  return { multiplications: ran * (products + predicted), weightBytes: ran * weightBytes };
}

/** The share of neurons that a block computes, and of tokens that it runs for. */
function sharesOf(node: Node, { plan }: Context): { readonly density: number; readonly ran: number } {
  const { quantile } = node.attributes;
  const layer = Number(/^layers\.(\d+)\./.exec(node.name)?.[1] ?? -1);
  const planned = plan?.blocks.find(({ block }) => block.endsWith('.ffn') && layerOfBlock(block) === layer)?.expected;
  const trained = quantile?.kind === 'float' ? 1 - normalShare(quantile.value) : undefined;
  return { density: trained ?? planned?.density ?? 1, ran: 1 - (planned?.skipped ?? 0) };
}

function ffnSizes(node: Node, { tensors }: Context) {
  const gate = tensors.get(inputOf('GatedFFN', node, 'gate'))?.shape;
  const down = tensors.get(inputOf('GatedFFN', node, 'down'))?.shape;
  const isFloat = gate?.length === 2;
  const hidden = numberOf(node, 'hidden_size') || (isFloat ? down?.[1] : down?.[0]) || 0;
  const both = tensors.get(inputOf('GatedFFN', node, 'gate_up'))?.shape[0] ?? 0;
  const neurons = numberOf(node, 'intermediate_size') || gate?.[0] || both / 2;
  const gateInputs = numberOf(node, 'gate_inputs') || hidden;
  return { hidden, neurons, gateInputs, upInputs: numberOf(node, 'up_inputs') || hidden };
}

/** Heads, entries of a head, and bytes of an entry. */
function cacheShape(past: string, { graph }: Context): readonly [number, number, number] {
  const cache = graph.inputs.find(({ name }) => name === past);
  const [, kvHeads, , headDim] = cache?.shape ?? [];
  return [Number(kvHeads) || 0, Number(headDim) || 0, DTYPE_BYTES[cache?.dtype ?? 'float32']];
}

/** Weights of a matrix in blocks, by the tensor of its scales: one for each 32 of them. */
function weightsBy(scales: string, { tensors }: Context): number {
  const tensor = tensors.get(scales);
  return tensor === undefined ? 0 : 32 * elementCount(tensor.shape);
}

function bytesOf(values: readonly string[], context: Context): number {
  const sources = new Set(values.flatMap((value) => sourcesOf(value, context)));
  return [...sources].reduce((sum, { dtype, shape }) => sum + byteLength(dtype, shape), 0);
}

/** The tensors that a value is made of alone: itself, or those behind casts and joined planes; none if tokens decide it. */
function sourcesOf(value: string, context: Context): readonly TensorExpr[] {
  return constantSources(value, context) ?? [];
}

function constantSources(value: string, context: Context): readonly TensorExpr[] | undefined {
  const tensor = context.tensors.get(value);
  if (tensor !== undefined) return [tensor];
  const node = context.producers.get(value);
  if (value === '' || node?.opType === 'Constant') return [];
  const behind = node?.inputs.map((input) => constantSources(input, context));
  return behind?.every((one) => one !== undefined) ? behind.flat() : undefined;
}

function numberOf({ attributes }: Node, name: string): number {
  const attribute = attributes[name];
  return attribute?.kind === 'int' || attribute?.kind === 'float' ? attribute.value : 0;
}
