/**
 * Alternating updates (Baykal et al. 2023, "Alternating Updates for Efficient Transformers"): the residual stream is
 * several times as wide as a layer, which computes one stream of it and predicts the others. Streams are one value,
 * [b, s, streams, hidden].
 */
import { attr } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import { cast, concatRows, float32Tensor, multiplyConstant } from '../../src/core/tensor.ts';
import type { Gemma3nConfig } from '../config/gemma3n-config.ts';
import type { Weight } from '../weights.ts';
import type { DecoderParts } from './parts.ts';
import { linear, product } from './product.ts';
import { rmsNorm } from './rms-norm.ts';

export type Gemma3nParts = DecoderParts<Gemma3nConfig>;

/** Where the streams are in a value's shape. */
const STREAM_AXIS = 2;

/** Below this mean square, a stream counts as having it. */
const LEAST_MEAN_SQUARE = 1e-5;

/** x [b, s, hidden] -> all streams: x itself, and projections of it that are as large. */
export function expandStreams(g: GraphBuilder, x: string, parts: Gemma3nParts, output: string): string {
  const { streams } = parts.config;
  const names = streamNumbers(streams).map((i) => `model.altup_projections.${i}.weight`);
  const [first, ...others] = names.map(parts.weights);
  const all = { ...first, name: 'model.altup_projections.weight', data: concatRows([first, ...others].map(dataOf)) };
  const projected = g.op('Reshape', [
    linear(g, x, all, undefined),
    g.int64(0, 0, streams - 1, parts.config.spec.hiddenSize),
  ]);
  const own = g.op('Unsqueeze', [x, g.int64(STREAM_AXIS)]);
  const sized = withSizeOf(g, projected, own, parts);
  return g.op('Concat', [own, sized], { attributes: { axis: attr.int(STREAM_AXIS) }, outputs: [output] });
}

function dataOf({ data }: Weight) {
  return data;
}

/** All streams -> x [b, s, hidden]: the mean of the first and of projections of the others that are as large. */
export function collapseStreams(g: GraphBuilder, all: string, parts: Gemma3nParts): string {
  const { streams } = parts.config;
  const names = Array.from({ length: streams }, () => g.fresh('stream'));
  const split = { attributes: { axis: attr.int(STREAM_AXIS), num_outputs: attr.int(streams) }, outputs: names };
  const [first, ...others] = g.ops('Split', [all], split).map((one) => g.op('Squeeze', [one, g.int64(STREAM_AXIS)]));
  const sized = others.map((one, i) => {
    const weight = parts.weights(`model.altup_unembed_projections.${i}.weight`);
    return withSizeOf(g, linear(g, one, weight, undefined), first, parts);
  });
  return g.op('Mean', [first, ...sized]);
}

function streamNumbers(streams: number): number[] {
  return Array.from({ length: streams - 1 }, (_, i) => i);
}

/** x scaled so that its mean square is that of `like`, over the last axis; squares are summed in float32. */
function withSizeOf(g: GraphBuilder, x: string, like: string, { floats }: Gemma3nParts): string {
  const wide = (of: string) => (floats === 'float32' ? of : g.cast(of, 'float32'));
  const [from, to] = [wide(x), wide(like)];
  const meanSquare = (of: string) => g.op('ReduceMean', [g.op('Mul', [of, of]), g.int64(-1)]);
  const size = g.op('Sqrt', [meanSquare(to)]);
  const old = g.op('Sqrt', [g.op('Max', [meanSquare(from), g.float(LEAST_MEAN_SQUARE)])]);
  const sized = g.op('Div', [g.op('Mul', [from, size]), old]);
  return floats === 'float32' ? sized : g.cast(sized, floats);
}

/** The prediction of all streams from all streams, before the layer has run. */
export function predictStreams(g: GraphBuilder, all: string, index: number, parts: Gemma3nParts): string {
  const { streams } = parts.config;
  const routed = route(g, activeStream(g, all, parts), index, parts);
  const coefficients = small(g, routed, `${prefixOf(index)}.prediction_coefs.weight`, parts);
  const square = g.op('Reshape', [coefficients, g.int64(0, 0, streams, streams)]);
  return g.op('Add', [g.op('MatMul', [square, all]), all]);
}

/** The prediction, corrected by what the layer made of the active stream: `activated` in place of `predicted` of it. */
export function correctStreams(
  g: GraphBuilder,
  prediction: string,
  predicted: string,
  activated: string,
  index: number,
  parts: Gemma3nParts,
): string {
  const routed = route(g, activated, index, parts);
  const coefficients = small(g, routed, `${prefixOf(index)}.correction_coefs.weight`, parts);
  const one = g.constant(cast(float32Tensor([1], []), parts.floats));
  const weights = g.op('Unsqueeze', [g.op('Add', [coefficients, one]), g.int64(STREAM_AXIS + 1)]);
  const innovation = g.op('Unsqueeze', [g.op('Sub', [activated, predicted]), g.int64(STREAM_AXIS)]);
  return g.op('Add', [g.op('Mul', [innovation, weights]), prediction]);
}

/** The stream that layers compute, [b, s, hidden]. */
export function activeStream(g: GraphBuilder, all: string, { config }: Gemma3nParts): string {
  return g.op('Gather', [all, g.int64Scalar(config.activeStream)], { attributes: { axis: attr.int(STREAM_AXIS) } });
}

/** x [b, s, hidden] added to every stream but the first. */
export function addToOthers(g: GraphBuilder, all: string, x: string, parts: Gemma3nParts, output: string): string {
  const { streams } = parts.config;
  const isOther = float32Tensor(
    Array.from({ length: streams }, (_, i) => (i === 0 ? 0 : 1)),
    [streams, 1],
  );
  const spread = g.op('Mul', [g.op('Unsqueeze', [x, g.int64(STREAM_AXIS)]), g.constant(cast(isOther, parts.floats))]);
  return g.op('Add', [all, spread], { outputs: [output] });
}

/** What a stream says of all streams, [b, s, streams]: tanh(router(norm x / hidden)). */
function route(g: GraphBuilder, x: string, index: number, parts: Gemma3nParts): string {
  const { config, normWeights, floats } = parts;
  const weight = normWeights(`${prefixOf(index)}.router_norm.weight`);
  const scaled = cast(multiplyConstant(weight.data, 1 / config.spec.hiddenSize), floats);
  const normed = rmsNorm(g, x, { name: weight.name, data: scaled }, config.rmsNormEps);
  return g.op('Tanh', [small(g, normed, `${prefixOf(index)}.modality_router.weight`, parts)]);
}

/** A product with a matrix of a few rows, which stays in floats: in blocks it would lose much and save nothing. */
function small(g: GraphBuilder, x: string, name: string, { weights }: Gemma3nParts): string {
  const weight = weights(name);
  const data = cast(weight.data, weight.precision.floats);
  return product(g, x, { ...weight, data }, { kind: 'float' }, g.fresh('coefficients'));
}

function prefixOf(index: number): string {
  return `model.layers.${index}.altup`;
}
