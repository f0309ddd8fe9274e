/** Sends sequences through a model a layer at a time. Memory holds one layer's weights and all residual streams. */
import { LacunaError, throwIfAborted } from '../src/core/errors.ts';
import { attr, type Graph } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import { EMBEDDING_WEIGHT, hiddenName, type ModelPieces, type ModelSpec } from '../src/core/model.ts';
import type { OpenGraph, Runner, RuntimeTensor } from '../src/core/runner.ts';
import { selectRows, type TensorExpr } from '../src/core/tensor.ts';
import { bitsOf, EXPONENT_MASK } from './float-bins.ts';
import type { Sequence } from './sequences.ts';
import type { HeadContext } from './statistic.ts';

export interface WalkOptions {
  readonly openGraph: OpenGraph;
  readonly signal?: AbortSignal | undefined;
}

/** A sequence between two layers: its residual stream, and the positions that all layers share. */
export interface Stream {
  readonly tokens: number;
  readonly shared: Readonly<Record<string, RuntimeTensor>>;
  hidden: RuntimeTensor;
}

/** Residual streams before the first layer. Of the embedding, larger than many a layer, only used rows are read. */
export async function embedAll(
  pieces: ModelPieces,
  sequences: readonly Sequence[],
  { openGraph, signal }: WalkOptions,
): Promise<Stream[]> {
  const used = [...new Set(sequences.flatMap(({ tokens }) => [...tokens]))].sort((a, b) => a - b);
  const row = new Map(used.map((token, index) => [token, BigInt(index)]));
  const streams: Stream[] = [];
  await withRunner(openGraph, withEmbeddings(pieces.embed(), used), async (runner) => {
    for (const { tokens } of sequences) {
      throwIfAborted(signal);
      const dims = [1, tokens.length];
      const { [hiddenName(0)]: hidden, ...shared } = await runner.run({
        input_ids: { dtype: 'int64', dims, data: BigInt64Array.from(tokens, (token) => row.get(token) as bigint) },
        attention_mask: { dtype: 'int64', dims, data: new BigInt64Array(tokens.length).fill(1n) },
      });
      streams.push({ tokens: tokens.length, shared, hidden });
    }
  });
  return streams;
}

export async function withRunner(openGraph: OpenGraph, graph: Graph, work: (runner: Runner) => Promise<void>) {
  const runner = await openGraph(graph);
  await work(runner).finally(() => runner.close());
}

/** The graph with an embedding that has only the rows of `tokens`, ascending. */
function withEmbeddings(graph: Graph, tokens: readonly number[]): Graph {
  const table = graph.initializers.find(({ name }) => name === EMBEDDING_WEIGHT);
  if (table === undefined)
    throw new LacunaError('mismatch', `The graph of the embedding has no weight "${EMBEDDING_WEIGHT}"`);
  const used = { ...table, data: selectRows(table.data, tokens) };
  return {
    ...graph,
    initializers: graph.initializers.map((initializer) => (initializer === table ? used : initializer)),
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

/** Runs one sequence through one layer, advances its residual stream and returns the values called `wanted`. */
export async function runLayer(
  runner: Runner,
  graph: Graph,
  layer: number,
  stream: Stream,
  wanted: readonly string[],
  spec: ModelSpec,
): Promise<Readonly<Record<string, Float32Array>>> {
  const emptyCache: RuntimeTensor = {
    dtype: 'float32',
    dims: [1, spec.numKeyValueHeads, 0, spec.headDim],
    data: new Float32Array(0),
  };
  const known: Readonly<Record<string, RuntimeTensor>> = {
    ...stream.shared,
    [hiddenName(layer)]: stream.hidden,
    [`past_key_values.${layer}.key`]: emptyCache,
    [`past_key_values.${layer}.value`]: emptyCache,
  };
  const feeds = Object.fromEntries(graph.inputs.map(({ name }) => [name, need(known, name, layer)]));
  const next = hiddenName(layer + 1);
  const outputs = await runner.run(feeds, [next, ...wanted]);
  stream.hidden = need(outputs, next, layer);
  if (!areFinite(floats(stream.hidden, next)))
    throw new LacunaError('non-finite', `Layer ${layer} gives NaN or infinity in ${next}`, {
      hint: 'Check the checkpoint: lacuna inspect names tensors that are not finite.',
    });
  return Object.fromEntries(wanted.map((name) => [name, floats(need(outputs, name, layer), name)]));
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
