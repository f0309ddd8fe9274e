/** Runs a model layer by layer over texts and collects the statistics on the way. */
import { LacunaError, throwIfAborted } from '../src/core/errors.ts';
import type { Graph } from '../src/core/graph.ts';
import { value } from '../src/core/graph-builder.ts';
import {
  ffnWeightName,
  HEAD_TAP,
  hiddenName,
  type ModelPieces,
  type ModelSpec,
  POST_NORM_TAPS,
  type PostNormTap,
  type Tap,
  tapName,
  tapWidth,
} from '../src/core/model.ts';
import { type JobOptions, type ProgressStage, SILENT } from '../src/core/progress.ts';
import type { OpenGraph } from '../src/core/runner.ts';
import type { LayerSums, Statistics } from '../src/core/statistics.ts';
import type { TensorExpr } from '../src/core/tensor.ts';
import { USUAL_STATISTICS } from './list.ts';
import { type CalibrationInput, cutSequences } from './sequences.ts';
import type { HeadContext, LayerKeeper, OpenSums, RunShape, Statistic, TapValues } from './statistic.ts';
import {
  embedAll,
  floats,
  makesValue,
  openSquarer,
  partThatMakes,
  runLayer,
  type Stream,
  withPositions,
  withRunner,
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
}

const IN_MEMORY: LayerKeeper = { keep: async (sums) => sums };

/**
 * Measures `statistics` on the texts. Memory holds one layer's weights at a time, and the residual stream of all tokens
 * (4 bytes * tokens * hidden size), so a model larger than memory can be calibrated. Every sequence starts with an
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
  const { sequenceLength, planned, mine, texts } = cutSequences(input, spec);
  const tokens = mine.reduce((sum, sequence) => sum + sequence.tokens.length, 0);
  const sequences = mine.map((sequence) => ({ index: sequence.index, tokens: sequence.tokens.length }));
  const stage = (options.progress ?? SILENT).stage('Calibrating', spec.numHiddenLayers * tokens, 'layer tokens');
  const streams = await embedAll(pieces, mine, options);
  const squarer = openSquarer(options.openGraph);
  const gathering = gather(statistics, { spec, tokens, sequences }, options.keeper);
  try {
    const pass = { ...options, stage, square: squarer.square };
    for (let layer = 0; layer < spec.numHiddenLayers; layer++)
      await gathering.at(layer, (measured) => passLayer(pieces, layer, streams, measured, pass));
    await gathering.at(spec.numHiddenLayers, (measured) => passHead(pieces, streams, measured, pass));
  } finally {
    await squarer.close();
  }
  stage.done();
  const { sums, layerSums } = gathering;
  const held = statistics.filter(({ name }) => Object.hasOwn(sums, name) || Object.hasOwn(layerSums, name));
  return {
    model: {
      modelType: spec.modelType,
      fingerprint: options.fingerprint,
      numHiddenLayers: spec.numHiddenLayers,
      hiddenSize: spec.hiddenSize,
      intermediateSize: spec.intermediateSize,
    },
    texts,
    sequenceLength,
    sequences: mine.map(({ index }) => index),
    plannedSequences: planned,
    tokens,
    definitions: Object.fromEntries(held.map(({ name, definition }) => [name, definition])),
    sums,
    layerSums,
  };
}

interface Measured {
  readonly statistic: Statistic;
  readonly sums: OpenSums;
}

/** The sums of a run: of all layers together, and `byLayer` what the keeper leaves of each layer. */
function gather(statistics: readonly Statistic[], shape: RunShape, keeper = IN_MEMORY) {
  const opened = (statistic: Statistic) => ({ statistic, sums: statistic.empty(shape) });
  const whole = statistics.filter(({ byLayer = false }) => !byLayer).map(opened);
  const layerSums: Record<string, readonly LayerSums[]> = {};
  const at = async (layer: number, pass: (measured: readonly Measured[]) => Promise<void>) => {
    const isHead = layer === shape.spec.numHiddenLayers;
    const own = statistics
      .filter(({ name, byLayer = false }) => byLayer && (keeper.wants?.(layer, name) ?? true))
      .map((statistic) => (isHead && statistic.addHead === undefined ? { statistic, sums: {} } : opened(statistic)));
    await pass([...whole, ...own]);
    for (const { statistic, sums } of own) {
      const kept = await keeper.keep(sums, layer, statistic.name);
      if (kept !== undefined) layerSums[statistic.name] = [...(layerSums[statistic.name] ?? []), kept];
    }
  };
  return { at, layerSums, sums: Object.fromEntries(whole.map(({ statistic, sums }) => [statistic.name, sums])) };
}

type PassOptions = CalibrationOptions & Pick<HeadContext, 'square'> & { readonly stage: ProgressStage };

async function passLayer(
  pieces: ModelPieces,
  layer: number,
  streams: readonly Stream[],
  measured: readonly Measured[],
  options: PassOptions,
): Promise<void> {
  const { spec } = pieces;
  const { square, stage, signal } = options;
  throwIfAborted(signal);
  const longest = streams.reduce((most, { tokens }) => Math.max(most, tokens), 0);
  const graph = withPositions(pieces.layer(layer), longest);
  const downNorms = await readDownNorms(graph, layer, spec, options);
  const taps = tapsIn(graph, layer, measured);
  await withRunner(options.openGraph, withTaps(graph, layer, taps, spec), async (runner) => {
    let firstToken = 0;
    for (const stream of streams) {
      throwIfAborted(signal);
      const names = taps.map((tap) => tapName(layer, tap));
      const found = await runLayer(runner, graph, layer, stream, names, spec);
      const values = Object.fromEntries(taps.map((tap, i) => [tap, found[names[i]]])) as TapValues;
      const context = { spec, tokens: stream.tokens, firstToken, downNorms, square };
      for (const { statistic, sums } of measured) await statistic.add(sums, layer, values, context);
      firstToken += stream.tokens;
      stage.advance(stream.tokens);
    }
  });
}

/** The norm before the head, for statistics of its result. The head itself does not run. */
async function passHead(
  pieces: ModelPieces,
  streams: readonly Stream[],
  measured: readonly Measured[],
  { square, openGraph, signal }: PassOptions,
): Promise<void> {
  const { spec } = pieces;
  if (!measured.some(({ statistic }) => statistic.addHead !== undefined)) return;
  await withRunner(openGraph, partThatMakes(pieces.head(), HEAD_TAP, spec.hiddenSize), async (runner) => {
    for (const { hidden, tokens } of streams) {
      throwIfAborted(signal);
      const outputs = await runner.run({ [hiddenName(spec.numHiddenLayers)]: hidden });
      const headIn = floats(outputs[HEAD_TAP], HEAD_TAP);
      for (const { statistic, sums } of measured) await statistic.addHead?.(sums, headIn, { spec, tokens, square });
    }
  });
}

type AnyTap = Tap | PostNormTap;

/** The measured values, without those that this model's layers lack. */
function tapsIn(graph: Graph, layer: number, measured: readonly Measured[]): AnyTap[] {
  const lacks = (tap: AnyTap) => POST_NORM_TAPS.some((one) => one === tap) && !makesValue(graph, tapName(layer, tap));
  return [...new Set(measured.flatMap(({ statistic }) => statistic.taps))].filter((tap) => !lacks(tap));
}

/** The layer's graph with its tapped values as further outputs. */
function withTaps(graph: Graph, layer: number, taps: readonly AnyTap[], spec: ModelSpec): Graph {
  const outputs = taps.map((tap) => {
    const name = tapName(layer, tap);
    if (!makesValue(graph, name))
      throw new LacunaError('mismatch', `The graph of layer ${layer} makes no value "${name}", which is measured`);
    return value(name, 'float32', ['batch_size', 'sequence_length', tapWidth(tap, spec)]);
  });
  const already = new Set(graph.outputs.map(({ name }) => name));
  return { ...graph, outputs: [...graph.outputs, ...outputs.filter(({ name }) => !already.has(name))] };
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
  for (let i = 0; i < floats.length; i++) squares[i % squares.length] += floats[i] * floats[i];
  return squares.map(Math.sqrt);
}
