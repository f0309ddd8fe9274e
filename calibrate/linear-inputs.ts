/** The inputs of a layer's linear layers: four inputs, each read by one to three weights. */
import { attentionWeightName, ffnWeightName, type ModelSpec, type Tap } from '../src/core/model.ts';
import type { TapValues } from './statistic.ts';

export interface LinearInput {
  readonly name: 'attn_in' | 'attended' | 'ffn_in' | 'down_in';
  /** The values that are multiplied together, each [tokens, width]. */
  readonly factors: readonly Tap[];
  readonly width: (spec: ModelSpec) => number;
  /** Names of the weights that multiply it; some layers lack some. */
  readonly readers: (layer: number, spec: Pick<ModelSpec, 'cacheLayers'>) => readonly string[];
}

export const LINEAR_INPUTS: readonly LinearInput[] = [
  {
    name: 'attn_in',
    factors: ['attn_in'],
    width: ({ hiddenSize }) => hiddenSize,
    // A layer that reads another's keys and values has none of its own.
    readers: (layer, { cacheLayers = Infinity }) =>
      (layer < cacheLayers ? (['q_proj', 'k_proj', 'v_proj'] as const) : (['q_proj'] as const)).map((name) =>
        attentionWeightName(layer, name),
      ),
  },
  {
    name: 'attended',
    factors: ['attended'],
    width: ({ numAttentionHeads, headDim }) => numAttentionHeads * headDim,
    readers: (layer) => [attentionWeightName(layer, 'o_proj')],
  },
  {
    name: 'ffn_in',
    factors: ['ffn_in'],
    width: ({ hiddenSize }) => hiddenSize,
    readers: (layer) => (['gate_proj', 'up_proj'] as const).map((name) => ffnWeightName(layer, name)),
  },
  {
    name: 'down_in',
    factors: ['act', 'up'],
    width: ({ intermediateSize }) => intermediateSize,
    readers: (layer) => [ffnWeightName(layer, 'down_proj')],
  },
];

/** The entries of an input that some of its readers multiply. */
export interface InputPart {
  readonly readers: readonly string[];
  readonly from: number;
  readonly to: number;
}

/** The parts of an input: one, unless gate and up read entries of their own. */
export function partsOf(
  { name, readers }: LinearInput,
  layer: number,
  spec: Pick<ModelSpec, 'cacheLayers' | 'gateInputs'>,
  width: number,
): readonly InputPart[] {
  const all = readers(layer, spec);
  const { gateInputs } = spec;
  if (name !== 'ffn_in' || gateInputs === undefined) return [{ readers: all, from: 0, to: width }];
  const [gate, up] = all;
  return [
    { readers: [gate], from: 0, to: gateInputs },
    { readers: [up], from: gateInputs, to: width },
  ];
}

/** An input [tokens, width], or a range of its values, multiplied in float32 as in the graph. */
export function inputOf(
  { factors: [first, ...others] }: LinearInput,
  taps: TapValues,
  from = 0,
  to = taps[first].length,
): Float32Array {
  const part = (factor: Tap) => taps[factor].subarray(from, to);
  return others.reduce((product, factor) => multiplied(product, part(factor)), part(first));
}

function multiplied(a: Float32Array, b: Float32Array): Float32Array {
  const product = new Float32Array(a.length);
  for (let i = 0; i < a.length; i++) product[i] = a[i] * b[i];
  return product;
}

/** Names of all weights of a layer that multiply something. */
export function linearWeights(layer: number, spec: Pick<ModelSpec, 'cacheLayers'>): string[] {
  return LINEAR_INPUTS.flatMap(({ readers }) => readers(layer, spec));
}
