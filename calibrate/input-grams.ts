/**
 * The Gram matrix of each input of the linear layers, H = sum over tokens of a x xᵀ: an error e in a row of a weight costs
 * eᵀ H e, in which errors of different columns add up or cancel. The factor a is what an error at that token costs.
 */
import { throwIfAborted } from '../src/core/errors.ts';
import { attr, type Graph } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import { HEAD_TAP, HEAD_WEIGHT, hiddenName, type ModelPieces, type ModelSpec, tapName } from '../src/core/model.ts';
import { type JobOptions, SILENT } from '../src/core/progress.ts';
import type { OpenGraph, Runner, RuntimeTensor } from '../src/core/runner.ts';
import type { TextIdentity } from '../src/core/statistics.ts';
import { LINEAR_INPUTS, type LinearInput } from './linear-inputs.ts';
import { type CalibrationInput, cutSequences } from './sequences.ts';
import { embedAll, floats, makesValue, partThatMakes, runLayer, type Stream } from './walk.ts';

/**
 * The factor of a sequence's first token in the matrix of query, key and value. Models use it as a sink (Xiao et al. 2024,
 * "Efficient Streaming Language Models with Attention Sinks"): a large share of every later token's attention goes there,
 * so that an error in its key or value is an error of all of them. As one token of many it would count for nothing.
 */
const SINK_FACTOR = 64;

/** Beside a mean square: where that is smaller, it is the norm's own epsilon that counts. */
const EPSILON = 1e-6;

export interface InputGram {
  /** Names of the weights that multiply the input. */
  readonly readers: readonly string[];
  readonly width: number;
  /** [width, width], symmetric. Its scale is that of the factors, and has no meaning. */
  readonly gram: Float32Array;
}

export interface LayerGrams {
  /** The number of layers for the output head. */
  readonly layer: number;
  readonly inputs: readonly InputGram[];
}

export interface GramOptions extends JobOptions {
  readonly openGraph: OpenGraph;
  /** Layers that need not be measured: they are passed only. */
  readonly known?: ReadonlySet<number>;
}

export interface InputGrams {
  readonly texts: readonly TextIdentity[];
  /** Each layer that is not known, then the head, measured when it is asked for. */
  readonly layers: AsyncGenerator<LayerGrams, void>;
}

/**
 * Gram matrices of the layers' inputs and of the head's on texts, in the model as `pieces` has it.
 *
 * Memory is that of a layer's weights, of its matrices (4 bytes * the sum of the squared widths) and of all residual
 * streams. Errors are those of `calibrate`.
 *
 * @example for await (const { layer, inputs } of inputGrams(pieces, input, { openGraph }).layers) await use(layer, inputs);
 */
export function inputGrams(pieces: ModelPieces, input: CalibrationInput, options: GramOptions): InputGrams {
  const { texts, mine } = cutSequences(input, pieces.spec);
  const tokens = texts.reduce((sum, text) => sum + text.tokens, 0);
  const walk = async function* (): AsyncGenerator<LayerGrams, void> {
    const { numHiddenLayers } = pieces.spec;
    const stage = (options.progress ?? SILENT).stage('Calibrating', numHiddenLayers * tokens, 'layer tokens');
    const streams = (await embedAll(pieces, mine, options)).map(withSinkScale);
    for (let layer = 0; layer < numHiddenLayers; layer++) {
      const isKnown = options.known?.has(layer) ?? false;
      const inputs = await passLayer(pieces, layer, streams, isKnown ? [] : LINEAR_INPUTS, options);
      stage.advance(tokens);
      if (!isKnown) yield { layer, inputs };
    }
    yield { layer: numHiddenLayers, inputs: [await headGram(pieces, streams, options)] };
    stage.done();
  };
  return { texts, layers: walk() };
}

/** Of each token, float [tokens, 1]: the root of its factor where the sink counts. */
const SINK_SCALE = 'sink_scale';

function withSinkScale(stream: Stream): Stream {
  const scale: RuntimeTensor = {
    dtype: 'float32',
    dims: [stream.tokens, 1],
    data: new Float32Array(stream.tokens).fill(1).fill(Math.sqrt(SINK_FACTOR), 0, 1),
  };
  return { ...stream, shared: { ...stream.shared, [SINK_SCALE]: scale } };
}

/** Sends all sequences through a layer and returns the matrices of `inputs`. */
async function passLayer(
  pieces: ModelPieces,
  layer: number,
  streams: readonly Stream[],
  inputs: readonly LinearInput[],
  { openGraph, signal }: GramOptions,
): Promise<readonly InputGram[]> {
  const { spec } = pieces;
  const graph = withGrams(pieces.layer(layer), layer, inputs, spec);
  const names = inputs.map(({ name }) => name);
  const grams = inputs.map(({ readers, width }) => emptyGram(readers(layer), width(spec)));
  await withRunner(openGraph, graph, async (runner) => {
    for (const stream of streams) {
      throwIfAborted(signal);
      const values = await runLayer(runner, graph, layer, stream, names.map(gramName), spec);
      for (const [i, { gram }] of grams.entries()) addTo(gram, values[gramName(names[i])]);
    }
  });
  return grams;
}

async function headGram(
  pieces: ModelPieces,
  streams: readonly Stream[],
  { openGraph, signal }: GramOptions,
): Promise<InputGram> {
  const { hiddenSize, numHiddenLayers } = pieces.spec;
  const found = emptyGram([HEAD_WEIGHT], hiddenSize);
  const part = partThatMakes(pieces.head(), HEAD_TAP, hiddenSize);
  const g = new GraphBuilder('grams');
  writeGram(g, HEAD_TAP, 'head_in');
  const graph = withOutputs(part, g, [gramOutput('head_in', hiddenSize)]);
  await withRunner(openGraph, graph, async (runner) => {
    for (const { hidden } of streams) {
      throwIfAborted(signal);
      const outputs = await runner.run({ [hiddenName(numHiddenLayers)]: hidden }, [gramName('head_in')]);
      addTo(found.gram, floats(outputs[gramName('head_in')], 'head_in'));
    }
  });
  return found;
}

function emptyGram(readers: readonly string[], width: number): InputGram {
  return { readers, width, gram: new Float32Array(width * width) };
}

async function withRunner(openGraph: OpenGraph, graph: Graph, use: (runner: Runner) => Promise<void>): Promise<void> {
  const runner = await openGraph(graph);
  try {
    await use(runner);
  } finally {
    await runner.close();
  }
}

function addTo(sum: Float32Array, addend: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] += addend[i];
}

function gramName(name: string): string {
  return `gram.${name}`;
}

function gramOutput(name: string, width: number) {
  return value(gramName(name), 'float32', [1, width, width]);
}

function withOutputs(graph: Graph, g: GraphBuilder, outputs: Graph['outputs']): Graph {
  return { ...graph, nodes: [...graph.nodes, ...g.nodes], outputs: [...graph.outputs, ...outputs] };
}

/** The layer's graph with the matrices of `inputs` as further outputs. */
function withGrams(graph: Graph, layer: number, inputs: readonly LinearInput[], spec: ModelSpec): Graph {
  const g = new GraphBuilder('grams');
  for (const { name, factors } of inputs) {
    const x = factors.map((tap) => tapName(layer, tap)).reduce((product, factor) => g.op('Mul', [product, factor]));
    const scale = tokenScale(g, name, graph, layer);
    writeGram(g, scale === undefined ? x : g.op('Mul', [x, scale]), name);
  }
  const scale = value(SINK_SCALE, 'float32', ['sequence_length', 1]);
  const fed = inputs.length === 0 ? graph : { ...graph, inputs: [...graph.inputs, scale] };
  return withOutputs(
    fed,
    g,
    inputs.map(({ name, width }) => gramOutput(name, width(spec))),
  );
}

/** x [1, tokens, width] -> xᵀ x. */
function writeGram(g: GraphBuilder, x: string, name: string): void {
  g.contrib('FusedMatMul', [x, x], { attributes: { transA: attr.int(1) }, outputs: [gramName(name)] });
}

/** The root of each token's factor, a value that broadcasts over [1, tokens, width]; undefined where all are alike. */
function tokenScale(g: GraphBuilder, name: LinearInput['name'], graph: Graph, layer: number): string | undefined {
  switch (name) {
    case 'attn_in':
      return SINK_SCALE;
    case 'attended':
      return belowNorm(g, firstMade(graph, [tapName(layer, 'projected'), tapName(layer, 'ffn_residual')]));
    case 'ffn_in':
      return undefined;
    case 'down_in':
      return belowNorm(g, firstMade(graph, [tapName(layer, 'down'), hiddenName(layer + 1)]));
  }
}

/**
 * 1 / rms(y): what is added to `y` is divided by that in the norm that follows, be it of the residual stream or of the
 * block's own output.
 */
function belowNorm(g: GraphBuilder, y: string): string {
  const meanSquare = g.op('ReduceMean', [g.op('Mul', [y, y]), g.int64(-1)]);
  return g.op('Reciprocal', [g.op('Sqrt', [g.op('Add', [meanSquare, g.float(EPSILON)])])]);
}

function firstMade(graph: Graph, names: readonly string[]): string {
  return names.find((name) => makesValue(graph, name)) ?? names[0];
}
