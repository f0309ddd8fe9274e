/** The half of GatedFFN's body after the choice: y = down(act ∘ up x), over all neurons or over the chosen ones. */
import { GATHER_PERCENT } from '../../core/choice.ts';
import { attr } from '../../core/graph.ts';
import { type GraphBuilder, value } from '../../core/graph-builder.ts';
import { type Activation, activateUp } from '../activations.ts';
import { axisSize, branch } from '../body.ts';
import type { StorageKind } from './storage.ts';

export interface NeuronValues {
  /** What up is multiplied with. */
  readonly x: string;
  /** [b, s, d_ff] */
  readonly act: string;
  readonly activation: Activation;
  /** up x for all neurons, without its bias and its activation. */
  readonly up: (g: GraphBuilder) => string;
  readonly upBias: boolean;
  readonly storage: StorageKind;
}

/** The number of neurons from which on all are computed, float [1]; made of a weight's shape, so known on loading. */
function gatherLimit(g: GraphBuilder): string {
  const scaled = g.op('Mul', [axisSize(g, 'gate', 0), g.int64(GATHER_PERCENT)]);
  return g.cast(g.op('Div', [scaled, g.int64(100)]), 'float32');
}

/** All neurons: two dense products, whose weights ONNX Runtime packs when it loads the model. */
export function allNeurons(g: GraphBuilder, values: NeuronValues, output = g.fresh('all')): string {
  const { act, activation, up, upBias, storage } = values;
  const biased = addBias(g, up(g), upBias ? 'up_bias' : undefined);
  return storage.combine(g, g.op('Mul', [act, activateUp(g, activation, biased)]), output);
}

type GatheredProducts = NonNullable<StorageKind['gathered']>;

/**
 * Only neurons that some token chose, if they are few enough; all of them otherwise. Either is exact for any number of
 * tokens, because a token's own zeros stay in the product. `chosen` is 0 or 1, float [b, s, d_ff].
 */
export function chosenNeurons(
  g: GraphBuilder,
  values: NeuronValues,
  chosen: string,
  products: GatheredProducts,
): string {
  const attributes = { keepdims: attr.int(0) };
  const byAny = g.op('ReduceMax', [chosen, g.int64(0, 1)], { attributes });
  // Counted before rows are looked up: finding them takes longer, and is of use to the gathered product alone.
  const few = g.op('Less', [g.op('ReduceSum', [byAny], { attributes }), gatherLimit(g)]);
  const y = (scope: string) => [value(`${scope}.out`, 'float32', ['batch_size', 'sequence_length', 'hidden_size'])];
  const gathered = branch('gathered', y('gathered'), (b, [to]) => {
    gatheredNeurons(b, values, products, b.op('Squeeze', [b.op('NonZero', [byAny]), b.int64(0)]), to);
  });
  const dense = branch('dense', y('dense'), (b, [to]) => allNeurons(b, values, to));
  return g.op('If', [few], { attributes: { then_branch: attr.graph(gathered), else_branch: attr.graph(dense) } });
}

/** `rows` int64 [n]; with none, products over an empty axis give the zeros that they should. */
function gatheredNeurons(
  g: GraphBuilder,
  { x, act, activation, upBias }: NeuronValues,
  products: GatheredProducts,
  rows: string,
  output: string,
): void {
  const pick = (from: string, axis: number) => g.op('Gather', [from, rows], { attributes: { axis: attr.int(axis) } });
  const biased = addBias(g, products.project(g, x, rows), upBias ? pick('up_bias', 0) : undefined);
  products.combine(g, g.op('Mul', [pick(act, -1), activateUp(g, activation, biased)]), rows, output);
}

export function addBias(g: GraphBuilder, x: string, bias: string | undefined): string {
  return bias === undefined ? x : g.op('Add', [x, bias]);
}
