/** Runs a model layer by layer over texts and collects the statistics on the way. */
import { LacunaError, throwIfAborted } from '../src/core/errors.ts';
import type { Graph } from '../src/core/graph.ts';
import {
  ffnWeightName,
  HEAD_TAP,
  type ModelPieces,
  type ModelSpec,
  POST_NORM_TAPS,
  specOfLayer,
  tapName,
} from '../src/core/model.ts';
import { type JobOptions, type ProgressStage, SILENT } from '../src/core/progress.ts';
import type { OpenGraph } from '../src/core/runner.ts';
import type { LayerSums, Statistics } from '../src/core/statistics.ts';
import type { TensorExpr } from '../src/core/tensor.ts';
import type { NamedSums } from './adder.ts';
import { comparisonGraph, type Detours, openDetours } from './detours.ts';
import { USUAL_STATISTICS } from './list.ts';
import { type CalibrationInput, cutSequences } from './sequences.ts';
import type { LayerKeeper, Statistic, TapValues } from './statistic.ts';
import { type Crew, openCrew } from './threads.ts';
import {
  type AnyTap,
  embedAll,
  floats,
  headFeeds,
  type LastReaders,
  lastReaders,
  makesValue,
  openSquarer,
  partThatMakes,
  runLayer,
  type Stream,
  withPositions,
  withRunner,
  withTaps,
} from './walk.ts';

/** What calibration gets from its caller, so that it knows no runtime and no file format. */
export interface CalibrationOptions extends JobOptions {
  readonly openGraph: OpenGraph;
  readonly readFloats: (expr: TensorExpr) => Promise<Float32Array>;
  /** The checkpoint's fingerprint. It binds the statistics to the model. */
  readonly fingerprint: string;
  /** What is measured. Default: `USUAL_STATISTICS`. */
  readonly statistics?: readonly Statistic[] | undefined;
  /** Takes the sums that are measured `byLayer`. Without it, they stay in memory. */
  readonly keeper?: LayerKeeper | undefined;
  /** Threads of the runtime. Statistics are added by half as many besides, where there are threads. Default: one a core. */
  readonly threads?: number | undefined;
}

const IN_MEMORY: LayerKeeper = { keep: async (sums) => sums };

/**
 * Measures `statistics` on the texts. Memory holds one layer's weights at a time, and the residual stream of all tokens
 * (4 bytes * tokens * hidden size, times the streams of models that have several), so a model larger than memory can be calibrated. Every sequence starts with an
 * empty cache. Throws `usage` for a wrong input, `mismatch` for a graph without the values it must have, `non-finite`
 * if a layer gives NaN or infinity, `interrupted` when the signal is aborted.
 *
 * @example
 * const statistics = await calibrate(pieces, { texts: [{ name: 'fit.txt', sha256, tokens }], maxTokens: 20_000 },
 *   { openGraph, readFloats, fingerprint: checkpoint.fingerprint });
 */
export async function calibrate(
  pieces: ModelPieces,
  input: CalibrationInput,
  options: CalibrationOptions,
): Promise<Statistics> {
  const { spec } = pieces;
  const { statistics = USUAL_STATISTICS } = options;
  refuseUneven(spec, statistics);
  const { sequenceLength, planned, mine, texts } = cutSequences(input, spec);
  const tokens = mine.reduce((sum, sequence) => sum + sequence.tokens.length, 0);
  const sequences = mine.map((sequence) => ({ index: sequence.index, tokens: sequence.tokens.length }));
  const shape = { spec, tokens, sequences };
  const isDetour = ({ detour }: Statistic) => detour !== undefined;
  const detours = openDetours(statistics.filter(isDetour), shape);
  const added = statistics.filter((one) => !isDetour(one));
  const passes = spec.numHiddenLayers * tokens + detours.passes * sequenceLength;
  const stage = (options.progress ?? SILENT).stage('Calibrating', passes, 'layer tokens');
  const streams = await embedAll(pieces, mine, options);
  const squarer = openSquarer(options.openGraph);
  const crew = openCrew(added, shape, { square: squarer.square, ...options });
  const keeping = keepLayers(statistics, crew, spec, options.keeper);
  let sums: Statistics['sums'];
  try {
    const pass = { ...options, stage, crew, detours, readers: lastReaders(pieces) };
    for (let layer = 0; layer < spec.numHiddenLayers; layer++)
      await keeping.at(layer, (measured) => passLayer(pieces, layer, streams, measured, pass));
    await keeping.at(spec.numHiddenLayers, (measured) => passHead(pieces, streams, measured, pass));
    await keeping.end();
    sums = { ...(await crew.end()), ...detours.end() };
  } finally {
    await crew.close();
    await squarer.close();
  }
  stage.done();
  const { layerSums } = keeping;
  const held = statistics.filter(({ name }) => Object.hasOwn(sums, name) || Object.hasOwn(layerSums, name));
  // In the order of statistics, whichever thread they are from.
  const inOrder = <T>(parts: Readonly<Record<string, T>>) =>
    Object.fromEntries(held.flatMap(({ name }) => (Object.hasOwn(parts, name) ? [[name, parts[name]]] : [])));
  return {
    model: {
      modelType: spec.modelType,
      fingerprint: options.fingerprint,
      numHiddenLayers: spec.numHiddenLayers,
      hiddenSize: spec.hiddenSize,
      intermediateSize: spec.intermediateSize,
      ...(spec.cacheLayers !== undefined && { cacheLayers: spec.cacheLayers }),
      ...(spec.gateInputs !== undefined && { gateInputs: spec.gateInputs }),
    },
    texts,
    sequenceLength,
    sequences: mine.map(({ index }) => index),
    plannedSequences: planned,
    tokens,
    definitions: Object.fromEntries(held.map(({ name, definition }) => [name, definition])),
    sums: inOrder(sums),
    layerSums: inOrder(layerSums),
  };
}

/** Statistics of all layers together have as many numbers for each. */
function refuseUneven({ intermediateSizes }: ModelSpec, statistics: readonly Statistic[]): void {
  const together = statistics.filter(({ byLayer = false }) => !byLayer).map(({ name }) => name);
  if (intermediateSizes === undefined || together.length === 0) return;
  throw new LacunaError(
    'unsupported',
    `The model's FFNs have ${[...new Set(intermediateSizes)].join(', ')} neurons; ${together.join(', ')} want as many in each layer`,
    { hint: 'Convert it without statistics, or round its layers by a text: lacuna convert --data FILE' },
  );
}

/** Gives the keeper the sums of each layer, and collects what it leaves of them. */
function keepLayers(statistics: readonly Statistic[], crew: Crew, spec: ModelSpec, keeper = IN_MEMORY) {
  const layerSums: Record<string, readonly LayerSums[]> = {};
  const keepAll = async (sums: NamedSums, layer: number) => {
    for (const [name, one] of Object.entries(sums)) {
      const kept = await keeper.keep(one, layer, name);
      if (kept !== undefined) layerSums[name] = [...(layerSums[name] ?? []), kept];
    }
  };
  // Threads may still be adding to a layer's sums while the next layer runs.
  let last = async () => {};
  const at = async (layer: number, pass: (measured: readonly Statistic[]) => Promise<void>) => {
    const isHead = layer === spec.numHiddenLayers;
    const wanted = statistics.filter(({ name, byLayer = false }) => byLayer && (keeper.wants?.(layer, name) ?? true));
    const own = wanted.filter(({ addHead }) => !isHead || addHead !== undefined);
    await crew.begin(
      own.map(({ name }) => name),
      layer,
    );
    await pass([...statistics.filter(({ byLayer = false }) => !byLayer), ...own]);
    const { here, away } = await crew.endLayer();
    await last();
    // Of the head, some statistics measure nothing.
    const nothing = Object.fromEntries(wanted.filter((one) => !own.includes(one)).map(({ name }) => [name, {}]));
    await keepAll({ ...nothing, ...here }, layer);
    last = async () => keepAll(await away, layer);
  };
  return { at, end: () => last(), layerSums };
}

type PassOptions = CalibrationOptions & {
  readonly stage: ProgressStage;
  readonly crew: Crew;
  readonly detours: Detours;
  readonly readers: LastReaders;
};

async function passLayer(
  pieces: ModelPieces,
  layer: number,
  streams: readonly Stream[],
  measured: readonly Statistic[],
  options: PassOptions,
): Promise<void> {
  const spec = specOfLayer(pieces.spec, layer);
  const { crew, detours, stage, signal, readers } = options;
  throwIfAborted(signal);
  const longest = streams.reduce((most, { tokens }) => Math.max(most, tokens), 0);
  const graph = withPositions(pieces.layer(layer), longest);
  const downNorms = await readDownNorms(graph, layer, spec, options);
  const taps = tapsIn(graph, layer, measured);
  await withRunner(options.openGraph, withTaps(graph, layer, taps, spec), async (runner) => {
    let firstToken = 0;
    for (const [position, stream] of streams.entries()) {
      throwIfAborted(signal);
      const names = taps.map((tap) => tapName(layer, tap));
      const found = await runLayer(runner, graph, layer, stream, names, { spec, readers });
      const values = Object.fromEntries(taps.map((tap, i) => [tap, found[names[i]]])) as TapValues;
      const sent = await detours.pass(position, layer, values, stream, (copy) => {
        throwIfAborted(signal);
        return runLayer(runner, graph, layer, copy, [], { spec, readers });
      });
      // The crew may hand the values to another thread.
      await crew.add(position, layer, values, { tokens: stream.tokens, firstToken, downNorms });
      firstToken += stream.tokens;
      stage.advance((1 + sent) * stream.tokens);
    }
  });
}

/** The norm before the head, for statistics of its result. The head itself does not run. */
async function passHead(
  pieces: ModelPieces,
  streams: readonly Stream[],
  measured: readonly Statistic[],
  { crew, detours, openGraph, signal }: PassOptions,
): Promise<void> {
  const { spec } = pieces;
  if (detours.passes > 0)
    await withRunner(openGraph, comparisonGraph(pieces.head()), async (runner) => {
      for (const [position, stream] of streams.entries()) {
        throwIfAborted(signal);
        await detours.arrive(position, stream, runner);
      }
    });
  if (!measured.some(({ addHead }) => addHead !== undefined)) return;
  await withRunner(openGraph, partThatMakes(pieces.head(), HEAD_TAP, spec.hiddenSize), async (runner) => {
    for (const [position, stream] of streams.entries()) {
      throwIfAborted(signal);
      const outputs = await runner.run(headFeeds(stream, spec.numHiddenLayers));
      await crew.addHead(position, floats(outputs[HEAD_TAP], HEAD_TAP), stream.tokens);
    }
  });
}

/** The measured values, without those that this model's layers lack. */
function tapsIn(graph: Graph, layer: number, measured: readonly Statistic[]): AnyTap[] {
  const lacks = (tap: AnyTap) => POST_NORM_TAPS.some((one) => one === tap) && !makesValue(graph, tapName(layer, tap));
  return [...new Set(measured.flatMap(({ taps }) => taps))].filter((tap) => !lacks(tap));
}

/** L2 norms of down_proj's columns, summed in float64. */
async function readDownNorms(
  graph: Graph,
  layer: number,
  spec: ModelSpec,
  { readFloats }: CalibrationOptions,
): Promise<Float64Array> {
  const name = ffnWeightName(layer, 'down_proj');
  const weight = graph.initializers.find((initializer) => initializer.name === name);
  const wanted = [spec.hiddenSize, spec.intermediateSize];
  if (weight === undefined || String(weight.data.shape) !== String(wanted))
    throw new LacunaError(
      'mismatch',
      `Layer ${layer} wants a weight "${name}" of [${wanted}], got ${weight ? `[${weight.data.shape}]` : 'none'}`,
    );
  const floats = await readFloats(weight.data);
  const squares = new Float64Array(spec.intermediateSize);
  for (let row = 0; row < floats.length; row += squares.length)
    for (let column = 0, i = row; column < squares.length; column++, i++) squares[column] += floats[i] * floats[i];
  return squares.map(Math.sqrt);
}
