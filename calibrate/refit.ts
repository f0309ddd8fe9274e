/**
 * A walk in which some FFN blocks are replaced, beside the model itself. Each block gets its stand-in when the tokens
 * arrive at it, with all earlier ones in place, so a stand-in may make up for what those get wrong.
 */
import type { ArrivingTokens, FitStandIn, StandIn } from '../src/core/arriving.ts';
import { LacunaError, throwIfAborted } from '../src/core/errors.ts';
import type { Graph } from '../src/core/graph.ts';
import { hiddenName, type ModelPieces, specOfLayer, type Tap, tapName } from '../src/core/model.ts';
import { type JobOptions, SILENT } from '../src/core/progress.ts';
import type { OpenGraph, Runner } from '../src/core/runner.ts';
import type { TextIdentity } from '../src/core/statistics.ts';
import { streamFactor } from './ffn-moments.ts';
import { type CalibrationInput, cutSequences } from './sequences.ts';
import type { TapValues } from './statistic.ts';
import {
  embedAll,
  floats,
  type LastReaders,
  lastReaders,
  openProducts,
  runLayer,
  type Stream,
  withAdded,
  withPositions,
  withRunner,
  withTaps,
} from './walk.ts';

export interface RefitOptions extends JobOptions {
  readonly openGraph: OpenGraph;
}

export interface Refitted {
  readonly tokens: number;
  readonly texts: readonly TextIdentity[];
}

const TAPS: readonly Tap[] = ['ffn_in', 'ffn_residual', 'ffn_out'];

/**
 * Sends the texts through the model up to the last of `layers`, and through the model with stand-ins beside it. `standInFor`
 * says what stands in the FFN block of each of these layers. Memory holds one layer's weights at a time, and about six times the
 * residual stream of all tokens (4 bytes * tokens * hidden size). Throws `usage` for a wrong input, `unsupported` for a model
 * with more than one residual stream, `non-finite` if a layer gives NaN or infinity, `interrupted` when the signal is aborted.
 */
export async function refitWalk(
  pieces: ModelPieces,
  input: CalibrationInput,
  layers: readonly number[],
  standInFor: FitStandIn,
  options: RefitOptions,
): Promise<Refitted> {
  const { spec } = pieces;
  const { mine, texts } = cutSequences(input, spec);
  const tokens = mine.reduce((sum, sequence) => sum + sequence.tokens.length, 0);
  const [first, last] = [Math.min(...layers), Math.max(...layers)];
  // Beside the model itself, from the first stand-in to the last.
  const passes = last + 1 + Math.max(0, last - first);
  const stage = (options.progress ?? SILENT).stage('Refitting', passes * tokens, 'layer tokens');
  const dense = await embedAll(pieces, mine, options);
  const products = openProducts(options.openGraph);
  const walk = { pieces, readers: lastReaders(pieces), options, advance: (count: number) => stage.advance(count) };
  try {
    // Up to the first stand-in there is nothing beside the model.
    let sparse: Stream[] | undefined;
    for (let layer = 0; layer <= last; layer++) {
      throwIfAborted(options.signal);
      if (!layers.includes(layer)) {
        await passBoth(walk, layer, dense, sparse);
        continue;
      }
      const passed = await passTapped(walk, layer, dense, sparse);
      sparse = passed.streams;
      const standIn = await standInFor(layer, arriving(passed, dense, layer, spec.hiddenSize), products);
      replaceRows(passed, standIn, layer, spec.hiddenSize);
    }
  } finally {
    await products.close();
  }
  stage.done();
  return { tokens, texts };
}

interface Walk {
  readonly pieces: ModelPieces;
  readonly readers: LastReaders;
  readonly options: RefitOptions;
  readonly advance: (tokens: number) => void;
}

/** Opens a layer and works with its runner. */
async function atLayer(
  { pieces, readers, options, advance }: Walk,
  layer: number,
  streams: readonly Stream[],
  taps: readonly Tap[],
  work: (pass: (stream: Stream, wanted: readonly Tap[]) => Promise<TapValues>) => Promise<void>,
): Promise<void> {
  const spec = specOfLayer(pieces.spec, layer);
  const longest = streams.reduce((most, { tokens }) => Math.max(most, tokens), 0);
  const graph: Graph = withPositions(pieces.layer(layer), longest);
  await withRunner(options.openGraph, withTaps(graph, layer, taps, spec), (runner: Runner) =>
    work(async (stream, wanted) => {
      throwIfAborted(options.signal);
      const names = wanted.map((tap) => tapName(layer, tap));
      const found = await runLayer(runner, graph, layer, stream, names, { spec, readers });
      advance(stream.tokens);
      return Object.fromEntries(wanted.map((tap, i) => [tap, found[names[i]]])) as TapValues;
    }),
  );
}

function passBoth(walk: Walk, layer: number, dense: readonly Stream[], sparse: readonly Stream[] = []): Promise<void> {
  return atLayer(walk, layer, dense, [], async (pass) => {
    for (const stream of [...dense, ...sparse]) await pass(stream, []);
  });
}

/** Sequences with stand-ins past a layer that still has its own block, and what it made of them. */
interface Passed {
  readonly streams: Stream[];
  readonly taps: readonly TapValues[];
}

async function passTapped(
  walk: Walk,
  layer: number,
  dense: readonly Stream[],
  sparse: readonly Stream[] | undefined,
): Promise<Passed> {
  const streams: Stream[] = [];
  const taps: TapValues[] = [];
  await atLayer(walk, layer, dense, TAPS, async (pass) => {
    for (const [i, stream] of dense.entries()) {
      const beside = sparse?.[i];
      const values = await pass(stream, beside === undefined ? TAPS : []);
      taps.push(beside === undefined ? values : await pass(beside, TAPS));
      streams.push(beside ?? { tokens: stream.tokens, values: new Map(stream.values) });
    }
  });
  return { streams, taps };
}

/** The tokens of all sequences at a block, and what is wanted of them. `dense` are the model's own, past the layer. */
function arriving({ taps }: Passed, dense: readonly Stream[], layer: number, hidden: number): ArrivingTokens {
  const count = dense.reduce((sum, { tokens }) => sum + tokens, 0);
  const [x, wanted] = [new Float32Array(count * hidden), new Float32Array(count * hidden)];
  const factors = new Float64Array(count);
  const positions = new Uint32Array(count);
  let first = 0;
  for (const [i, stream] of dense.entries()) {
    const after = rowsOf(stream, layer + 1);
    const { ffn_in: input, ffn_residual: before } = taps[i];
    x.set(input, first * hidden);
    for (let at = 0; at < after.length; at++) wanted[first * hidden + at] = after[at] - before[at];
    for (let token = 0; token < stream.tokens; token++) {
      positions[first + token] = token;
      factors[first + token] = streamFactor(after, token * hidden, hidden);
    }
    first += stream.tokens;
  }
  return { positions, x, wanted, factors };
}

/** Puts the stand-in's rows, for the tokens that take it, in place of what the block added. */
function replaceRows({ streams, taps }: Passed, { rows, skips }: StandIn, layer: number, hidden: number): void {
  let first = 0;
  for (const [i, { tokens, values }] of streams.entries()) {
    const own = taps[i].ffn_out;
    const [from, start] = [first * hidden, first];
    const added = own.map((value, at) => (skips[start + Math.floor(at / hidden)] === 1 ? rows[from + at] : value));
    streams[i] = withAdded({ tokens, values }, layer, taps[i], added);
    first += tokens;
  }
}

/** The residual stream before a layer. */
function rowsOf({ values }: Stream, layer: number): Float32Array {
  const name = hiddenName(layer);
  const found = values.get(name);
  if (found !== undefined) return floats(found, name);
  throw new LacunaError('mismatch', `Layer ${layer - 1} makes no value "${name}"`);
}
