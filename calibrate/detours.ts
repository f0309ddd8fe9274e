/**
 * Copies of sequences that go on from a layer with something changed, up to the head, where they are compared with the
 * sequence itself. They pass each layer behind it, so one layer's weights are in memory here too.
 */
import { attr, type Graph } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import { hiddenName, type ModelSpec, specOfLayer } from '../src/core/model.ts';
import type { Runner, RuntimeTensor } from '../src/core/runner.ts';
import type { NamedSums } from './adder.ts';
import type { RunShape, Statistic, TapValues } from './statistic.ts';
import { floats, headFeeds, type Stream, withAdded } from './walk.ts';

/** Logits of more positions than this are not in memory at once: 2^23 of them are 32 MB. */
const MOST_LOGITS = 2 ** 23;

/** Each fourth position is compared at the head. */
const POSITION_STEP = 4;

export interface Detours {
  /** Passes of a layer, over all sequences. */
  readonly passes: number;
  /**
   * A sequence has passed a layer and `stream` is what it goes on with. `advance` sends a copy through the same layer.
   * Resolves to the copies that were sent.
   */
  pass(
    position: number,
    layer: number,
    taps: TapValues,
    stream: Stream,
    advance: (copy: Stream) => Promise<unknown>,
  ): Promise<number>;
  /** Compares a sequence's copies with it. `runner` has `comparisonGraph`. */
  arrive(position: number, stream: Stream, runner: Runner): Promise<void>;
  end(): NamedSums;
}

interface Copy {
  readonly statistic: Statistic;
  readonly layer: number;
  readonly stream: Stream;
}

export function openDetours(statistics: readonly Statistic[], shape: RunShape): Detours {
  const { spec, sequences } = shape;
  const sums = new Map(statistics.map((statistic) => [statistic, statistic.empty(shape)]));
  const takers = sequences.map(({ index }) => statistics.filter(({ detour }) => detour?.takes(index)));
  const copies: Copy[][] = sequences.map(() => []);
  const sumsOf = (statistic: Statistic) => sums.get(statistic) ?? {};
  return {
    passes: takers.reduce(
      (sum, { length }) => sum + (length * spec.numHiddenLayers * (spec.numHiddenLayers - 1)) / 2,
      0,
    ),
    async pass(position, layer, taps, stream, advance) {
      const sent = copies[position].length;
      for (const copy of copies[position]) await advance(copy.stream);
      for (const statistic of takers[position]) {
        const context = { spec: specOfLayer(spec, layer), tokens: stream.tokens };
        const changed = statistic.detour?.leave(sumsOf(statistic), layer, taps, context);
        if (changed !== undefined)
          copies[position].push({ statistic, layer, stream: withAdded(stream, layer, taps, changed) });
      }
      return sent;
    },
    async arrive(position, stream, runner) {
      const rows = sampledRows(stream, spec);
      for (const { statistic, layer, stream: copy } of copies[position].splice(0)) {
        const nats = await divergence(rows, sampledRows(copy, spec), spec, runner);
        statistic.detour?.arrive(sumsOf(statistic), layer, nats, rows.length / spec.hiddenSize);
      }
    },
    end: () => Object.fromEntries([...sums].map(([{ name }, own]) => [name, own])),
  };
}

/** What the head reads of each fourth position, [positions, hidden]. */
function sampledRows(stream: Stream, { numHiddenLayers: layers, hiddenSize: hidden }: ModelSpec): Float32Array {
  const [[name, { data }]] = Object.entries(headFeeds(stream, layers));
  const all = floats({ dtype: 'float32', dims: [], data }, name);
  const positions = Math.floor(stream.tokens / POSITION_STEP);
  const rows = new Float32Array(positions * hidden);
  for (let i = 0; i < positions; i++) {
    const from = (i * POSITION_STEP + POSITION_STEP - 1) * hidden;
    rows.set(all.subarray(from, from + hidden), i * hidden);
  }
  return rows;
}

/** The sum of KL(p ‖ q) over positions. */
async function divergence(
  p: Float32Array,
  q: Float32Array,
  { hiddenSize: hidden, vocabSize, numHiddenLayers }: ModelSpec,
  runner: Runner,
): Promise<number> {
  const step = hidden * Math.max(1, Math.floor(MOST_LOGITS / vocabSize));
  let sum = 0;
  for (let from = 0; from < p.length; from += step) {
    const parts = [p, q].map((rows) => rows.subarray(from, from + step));
    const data = new Float32Array(2 * parts[0].length);
    for (const [i, part] of parts.entries()) data.set(part, i * part.length);
    const tensor: RuntimeTensor = { dtype: 'float32', dims: [2, parts[0].length / hidden, hidden], data };
    const { [DIVERGENCE]: nats } = await runner.run({ [hiddenName(numHiddenLayers)]: tensor });
    for (const one of floats(nats, DIVERGENCE)) sum += one;
  }
  return sum;
}

const DIVERGENCE = 'divergence';

/** The head, and KL(p ‖ q) by position of the two sequences of a batch, [positions]. */
export function comparisonGraph(head: Graph): Graph {
  const g = new GraphBuilder('comparison');
  const logs = g.op('LogSoftmax', [head.outputs[0].name], { attributes: { axis: attr.int(-1) } });
  const [p, q] = [0, 1].map((row) => g.op('Gather', [logs, g.int64Scalar(row)], { attributes: { axis: attr.int(0) } }));
  const terms = g.op('Mul', [g.op('Exp', [p]), g.op('Sub', [p, q])]);
  g.op('ReduceSum', [terms, g.int64(-1)], { attributes: { keepdims: attr.int(0) }, outputs: [DIVERGENCE] });
  return { ...head, outputs: [value(DIVERGENCE, 'float32', ['positions'])], nodes: [...head.nodes, ...g.nodes] };
}
