/** Sends sequences through a model a layer at a time. Memory holds one layer's weights and all residual streams. */
import type { Products } from '../src/core/arriving.ts';
import { LacunaError, throwIfAborted } from '../src/core/errors.ts';
import { attr, type Graph, type Initializer } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import {
  EMBEDDING_WEIGHT,
  hiddenName,
  type ModelPieces,
  type ModelSpec,
  PER_LAYER_EMBEDDING_WEIGHT,
  PER_LAYER_IDS,
  type PostNormTap,
  type Tap,
  tapName,
  tapWidth,
} from '../src/core/model.ts';
import type { OpenGraph, Runner, RuntimeTensor } from '../src/core/runner.ts';
import { selectRows, type TensorExpr } from '../src/core/tensor.ts';
import { bitsOf, EXPONENT_MASK } from './float-bins.ts';
import type { Sequence } from './sequences.ts';
import type { HeadContext, TapValues } from './statistic.ts';

export interface WalkOptions {
  readonly openGraph: OpenGraph;
  readonly signal?: AbortSignal | undefined;
}

/** A sequence between two layers: the values that were made and that a piece still reads, the residual stream among them. */
export interface Stream {
  readonly tokens: number;
  readonly values: Map<string, RuntimeTensor>;
}

/** By value: the last layer that reads it; that of the head is the number of layers. */
export type LastReaders = ReadonlyMap<string, number>;

/** What passes between pieces: all values that some piece makes and a later one reads. */
export function lastReaders(pieces: ModelPieces): LastReaders {
  const { numHiddenLayers: count } = pieces.spec;
  const layers = Array.from({ length: count }, (_, layer) => pieces.layer(layer));
  const reads = [...layers, pieces.head()].flatMap(({ inputs }, layer) =>
    inputs.map(({ name }) => [name, layer] as const),
  );
  return new Map(reads);
}

/** Values before the first layer. Of embeddings, larger than many a layer, only used rows are read. */
export async function embedAll(
  pieces: ModelPieces,
  sequences: readonly Sequence[],
  { openGraph, signal }: WalkOptions,
): Promise<Stream[]> {
  const whole = pieces.embed();
  const tables = tablesOf(whole, new Set(sequences.flatMap(({ tokens }) => [...tokens])));
  const streams: Stream[] = [];
  await withRunner(openGraph, withUsedRows(whole, tables), async (runner) => {
    for (const { tokens } of sequences) {
      throwIfAborted(signal);
      const dims = [1, tokens.length];
      const ids = tables.map(({ ids, rowOf }) => {
        return [
          ids,
          { dtype: 'int64', dims, data: BigInt64Array.from(tokens, (token) => BigInt(rowOf(token))) },
        ] as const;
      });
      const made = await runner.run({
        ...Object.fromEntries(ids),
        attention_mask: { dtype: 'int64', dims, data: new BigInt64Array(tokens.length).fill(1n) },
      });
      streams.push({ tokens: tokens.length, values: new Map(Object.entries(made)) });
    }
  });
  return streams;
}

export async function withRunner(openGraph: OpenGraph, graph: Graph, work: (runner: Runner) => Promise<void>) {
  const runner = await openGraph(graph);
  await work(runner).finally(() => runner.close());
}

/** A table of the embedding's graph, and the part of it that some tokens need. */
interface UsedTable {
  readonly table: Initializer;
  /** The value that says which rows are looked up. */
  readonly ids: string;
  /** Ascending. */
  readonly rows: readonly number[];
  /** The place of a token's row among `rows`. */
  readonly rowOf: (token: number) => number;
}

/** Tables by the names that converters give them, and the values by which they look up. */
const TABLES = [
  { name: EMBEDDING_WEIGHT, ids: 'input_ids' },
  { name: PER_LAYER_EMBEDDING_WEIGHT, ids: PER_LAYER_IDS },
] as const;

function tablesOf(graph: Graph, tokens: ReadonlySet<number>): readonly UsedTable[] {
  const found = TABLES.flatMap(({ name, ids }) => {
    const table = graph.initializers.find((initializer) => initializer.name === name);
    return table === undefined ? [] : [usedTable(table, ids, tokens)];
  });
  if (found[0]?.table.name === EMBEDDING_WEIGHT) return found;
  throw new LacunaError('mismatch', `The graph of the embedding has no weight "${EMBEDDING_WEIGHT}"`);
}

/** Tokens beyond a table have its first row. */
function usedTable(table: Initializer, ids: string, tokens: ReadonlySet<number>): UsedTable {
  const [count] = table.data.shape;
  const inTable = (token: number) => (token < count ? token : 0);
  const rows = [...new Set([...tokens].map(inTable))].sort((a, b) => a - b);
  const places = new Map(rows.map((row, place) => [row, place]));
  return { table, ids, rows, rowOf: (token) => places.get(inTable(token)) ?? 0 };
}

/** The graph with tables that have only those rows, which are looked up by graph inputs. */
function withUsedRows(graph: Graph, tables: readonly UsedTable[]): Graph {
  const made = tables.map(({ ids }) => ids).filter((ids) => makesValue(graph, ids));
  const used = new Map(tables.map(({ table, rows }) => [table, { ...table, data: selectRows(table.data, rows) }]));
  return {
    ...graph,
    inputs: [...graph.inputs, ...made.map((ids) => value(ids, 'int64', ['batch_size', 'sequence_length']))],
    initializers: graph.initializers.map((initializer) => used.get(initializer) ?? initializer),
    nodes: graph.nodes.filter(({ outputs }) => !outputs.some((output) => made.includes(output))),
  };
}

/**
 * The graph with the rows of its rotary tables that these positions need. Computing tables for a long context can take
 * longer than the layer takes to run, and every layer has its own.
 */
export function withPositions(graph: Graph, positions: number): Graph {
  const shortened = (data: TensorExpr): TensorExpr => {
    if (data.kind !== 'waves') return data;
    const [rows, columns] = data.shape;
    return { ...data, shape: [Math.min(rows, positions), columns] };
  };
  return { ...graph, initializers: graph.initializers.map(({ name, data }) => ({ name, data: shortened(data) })) };
}

/** Runs one sequence through one layer, advances its values and returns those called `wanted`. */
export async function runLayer(
  runner: Runner,
  graph: Graph,
  layer: number,
  stream: Stream,
  wanted: readonly string[],
  { spec, readers }: { readonly spec: ModelSpec; readonly readers: LastReaders },
): Promise<Readonly<Record<string, Float32Array>>> {
  const emptyCache: RuntimeTensor = {
    dtype: 'float32',
    dims: [1, spec.numKeyValueHeads, 0, spec.headDim],
    data: new Float32Array(0),
  };
  const known: Readonly<Record<string, RuntimeTensor>> = {
    ...Object.fromEntries(stream.values),
    [`past_key_values.${layer}.key`]: emptyCache,
    [`past_key_values.${layer}.value`]: emptyCache,
  };
  const feeds = Object.fromEntries(graph.inputs.map(({ name }) => [name, need(known, name, layer)]));
  const next = hiddenName(layer + 1);
  const isReadLater = (name: string) => (readers.get(name) ?? -1) > layer;
  const others = graph.outputs.map(({ name }) => name).filter((name) => name !== next && isReadLater(name));
  const outputs = await runner.run(feeds, [next, ...others, ...wanted]);
  if (!areFinite(floats(need(outputs, next, layer), next)))
    throw new LacunaError('non-finite', `Layer ${layer} gives NaN or infinity in ${next}`, {
      hint: 'Check the checkpoint: lacuna inspect names tensors that are not finite.',
    });
  for (const name of stream.values.keys()) if (!isReadLater(name)) stream.values.delete(name);
  for (const name of [next, ...others]) stream.values.set(name, need(outputs, name, layer));
  return Object.fromEntries(wanted.map((name) => [name, floats(need(outputs, name, layer), name)]));
}

/** The values that the head reads of a sequence that has passed all layers. */
export function headFeeds({ values }: Stream, layers: number): Readonly<Record<string, RuntimeTensor>> {
  const name = hiddenName(layers);
  return { [name]: need(Object.fromEntries(values), name, layers) };
}

/** NaN and infinity have all bits of the exponent. */
function areFinite(values: Float32Array): boolean {
  const bits = bitsOf(values);
  for (let i = 0; i < bits.length; i++) if ((bits[i] & EXPONENT_MASK) === EXPONENT_MASK) return false;
  return true;
}

function need(tensors: Readonly<Record<string, RuntimeTensor>>, name: string, layer: number): RuntimeTensor {
  if (!Object.hasOwn(tensors, name))
    throw new LacunaError(
      'mismatch',
      `Layer ${layer} has no value for "${name}", wanted one of ${Object.keys(tensors)}`,
    );
  return tensors[name];
}

export function floats(tensor: RuntimeTensor, name: string): Float32Array {
  if (tensor.data instanceof Float32Array) return tensor.data;
  throw new LacunaError('unsupported', `"${name}" is ${tensor.dtype}, calibration needs float32`, {
    hint: 'Convert with --dtype fp32.',
  });
}

/** The nodes and weights that one value [b, s, width] of a graph needs, with that value as the only output. */
export function partThatMakes(graph: Graph, name: string, width: number): Graph {
  const needed = new Set([name]);
  const nodes = graph.nodes.toReversed().filter(({ inputs, outputs }) => {
    const isNeeded = outputs.some((output) => needed.has(output));
    if (isNeeded) for (const input of inputs) needed.add(input);
    return isNeeded;
  });
  if (nodes.length === 0)
    throw new LacunaError('mismatch', `The graph of the head makes no value "${name}", which is measured`);
  return {
    ...graph,
    outputs: [value(name, 'float32', ['batch_size', 'sequence_length', width])],
    initializers: graph.initializers.filter((initializer) => needed.has(initializer.name)),
    nodes: nodes.toReversed(),
  };
}

export function makesValue(graph: Graph, name: string): boolean {
  return graph.nodes.some(({ outputs }) => outputs.includes(name));
}

/** A value that layers make. */
export type AnyTap = Tap | PostNormTap;

/** The layer's graph with its tapped values as further outputs. */
export function withTaps(graph: Graph, layer: number, taps: readonly AnyTap[], spec: ModelSpec): Graph {
  const outputs = taps.map((tap) => {
    const name = tapName(layer, tap);
    if (!makesValue(graph, name))
      throw new LacunaError('mismatch', `The graph of layer ${layer} makes no value "${name}", which is measured`);
    return value(name, 'float32', ['batch_size', 'sequence_length', tapWidth(tap, spec)]);
  });
  const already = new Set(graph.outputs.map(({ name }) => name));
  return { ...graph, outputs: [...graph.outputs, ...outputs.filter(({ name }) => !already.has(name))] };
}

/** Sums of float32: what a stream may differ from the sum of its parts. */
const SUM_TOLERANCE = 1e-4;

/** The stream past a layer, with `changed` in place of what the FFN block added. Throws `unsupported` where more happens to that. */
export function withAdded(
  { tokens, values }: Stream,
  layer: number,
  { ffn_residual: before, ffn_out: added }: TapValues,
  changed: Float32Array,
): Stream {
  const name = hiddenName(layer + 1);
  const stream = values.get(name);
  const data = stream === undefined ? new Float32Array(0) : floats(stream, name);
  if (stream === undefined || data.length !== added.length || !isSum(data, before, added))
    throw new LacunaError(
      'unsupported',
      `In layer ${layer}, more happens to what the FFN block adds than that it is added`,
      {
        hint: 'Only in models with one residual stream can something else be added. Calibrate without --with ffn-effect, plan without --preset replace.',
      },
    );
  const next = before.map((entry, i) => entry + changed[i]);
  return { tokens, values: new Map(values).set(name, { ...stream, data: next }) };
}

function isSum(sum: Float32Array, a: Float32Array, b: Float32Array): boolean {
  for (let i = 0; i < sum.length; i++)
    if (Math.abs(sum[i] - a[i] - b[i]) > SUM_TOLERANCE * (1 + Math.abs(a[i]) + Math.abs(b[i]))) return false;
  return true;
}

/** Products of the runtime, and the end of their sessions. The first product of a kind opens its session. */
export function openProducts(openGraph: OpenGraph): Products & { close(): Promise<void> } {
  const squarer = openSquarer(openGraph);
  let runner: Promise<Runner> | undefined;
  return {
    square: squarer.square,
    async times(x, m, width) {
      runner ??= openGraph(productGraph());
      const rows = (data: Float32Array): RuntimeTensor => ({
        dtype: 'float32',
        dims: [data.length / width, width],
        data,
      });
      const { product } = await (await runner).run({ x: rows(x), m: rows(m) });
      return floats(product, 'product');
    },
    async close() {
      await squarer.close();
      await (await runner)?.close();
    },
  };
}

/** x [n, width], m [rows, width] -> x mᵀ. */
function productGraph(): Graph {
  const g = new GraphBuilder('product');
  g.contrib('FusedMatMul', ['x', 'm'], { attributes: { transB: attr.int(1) }, outputs: ['product'] });
  const matrix = (name: string, rows: string, columns: string) => value(name, 'float32', [rows, columns]);
  return g.graph([matrix('x', 'n', 'width'), matrix('m', 'rows', 'width')], [matrix('product', 'n', 'rows')]);
}

/** Multiplies values by themselves. The first product opens its session. */
export function openSquarer(openGraph: OpenGraph): Pick<HeadContext, 'square'> & { close(): Promise<void> } {
  let runner: Promise<Runner> | undefined;
  const square: HeadContext['square'] = async (x, width) => {
    runner ??= openGraph(squareGraph());
    const dims = [x.length / width, width];
    const { square } = await (await runner).run({ x: { dtype: 'float32', dims, data: x } });
    return floats(square, 'square');
  };
  return { square, close: async () => (await runner)?.close() };
}

/** x [tokens, width] -> xᵀ x. */
function squareGraph(): Graph {
  const g = new GraphBuilder('square');
  g.contrib('FusedMatMul', ['x', 'x'], { attributes: { transA: attr.int(1) }, outputs: ['square'] });
  const matrix = (name: string, rows: string) => value(name, 'float32', [rows, 'width']);
  return g.graph([matrix('x', 'tokens')], [matrix('square', 'width')]);
}
