/**
 * What an FFN leaves out, neuron by neuron and token by token: a plan states it, a node carries it, bodies and kernels
 * read it. A neuron is measured, the measure is cut, and neurons below the cut become `rest`.
 */

/** A matrix of the FFN; `down` transposed, so that a row is a neuron in each. */
export type FfnMatrix = 'gate' | 'up' | 'down';

/** In this order. */
type FfnMatrices = readonly ['gate', 'up', 'down'] | readonly ['gate' | 'up', 'down'] | readonly ['down'];

export interface MeasureContract {
  readonly name: string;
  /** For neuron j. `weights` are numbers from 0 on, one for each neuron. */
  readonly formula: string;
  readonly cuts: readonly CutName[];
  /** Those that a plan has to give, by role, [intermediate_size] each. */
  readonly tensors: readonly 'weights'[];
  /** The matrices of which kernels read only the rows of chosen neurons. */
  readonly rows: FfnMatrices;
  /**
   * Whether the measure, without its weights, is the product of what is read of all neurons, act(gate_j) and up_j. Kernels then
   * multiply the product by what `rows` adds. For any other measure they compute act(gate_j) * up_j of chosen neurons anew.
   */
  readonly isProduct: boolean;
  /** How gate and up are stored where a copy of them is read whole, which says what is chosen. */
  readonly predictor?: 'int4';
  /** The weights of which a plan can state it; where there are none, its kernels exist to be timed. */
  readonly plannedFor: readonly ('floats' | 'blocks')[];
}

/** Where a measure is cut: neurons at or above the limit are computed. */
export const CUTS = [
  { name: 'absolute', limit: 'threshold' },
  { name: 'mean', limit: 'threshold times the mean over the token’s neurons' },
  /** With the population's deviation; Q is the standard normal quantile (Spark Transformer, section 3). */
  { name: 'deviation', limit: 'mean + deviation * Q(1 - density) over the token’s neurons' },
] as const;

export type CutName = (typeof CUTS)[number]['name'];

/** Of measures that are scores, each weighed by its neuron. */
const SCORE = { cuts: ['absolute', 'mean'], tensors: ['weights'] } as const;

/** In order. docs/operators.md, "Adding a measure", says what a new one takes beside its entry here. */
export const MEASURES = [
  {
    name: 'gate',
    formula: 'gate_j',
    cuts: ['deviation'],
    tensors: [],
    rows: ['up', 'down'],
    // Of chosen neurons it is activated.
    isProduct: true,
    plannedFor: ['floats', 'blocks'],
  },
  {
    name: 'activation',
    formula: '|act(gate_j)| * weights_j',
    ...SCORE,
    rows: ['up', 'down'],
    isProduct: true,
    plannedFor: ['floats', 'blocks'],
  },
  {
    name: 'product',
    formula: '|act(gate_j) * up_j| * weights_j',
    ...SCORE,
    rows: ['down'],
    isProduct: true,
    plannedFor: ['floats', 'blocks'],
  },
  {
    name: 'predicted',
    formula: 'as product, of gate and up in 4 bits',
    ...SCORE,
    rows: ['gate', 'up', 'down'],
    isProduct: false,
    predictor: 'int4',
    // Beside blocks, the copy would cost more than the rows that it spares.
    plannedFor: ['floats'],
  },
  {
    name: 'nested',
    formula: 'as product, of the upper 4 bits of gate and up in 8',
    ...SCORE,
    // In place of gate and up the lower 4 bits of them, whose upper ones are read whole.
    rows: ['gate', 'up', 'down'],
    isProduct: false,
    plannedFor: [],
  },
] as const satisfies readonly MeasureContract[];

export type MeasureName = (typeof MEASURES)[number]['name'];

/** Those that a plan can state. */
export const PLANNED_MEASURES = MEASURES.filter(({ plannedFor }) => plannedFor.length > 0).map(({ name }) => name);

/**
 * Portable bodies gather rows while fewer than this share of neurons, in percent, is chosen. A gathered row is copied, and
 * cannot be packed ahead: measured, gathered products take as long as dense ones at 28 to 33 % (docs/operators.md,
 * "Break-even").
 */
export const GATHER_PERCENT = 30;
export const GATHER_SHARE = GATHER_PERCENT / 100;

/** What a neuron below the cut adds to y. */
export const RESTS = ['nothing'] as const;

/** What happens to a gate above a deviation's limit: `soft`, as Spark Transformer and Gemma 3n, subtracts the limit. */
export const MODES = ['soft', 'hard'] as const;
export type Mode = (typeof MODES)[number];

/** A choice without its numbers and tensors: everything that a body depends on. */
export type NeuronChoice =
  | { readonly measure: MeasureName; readonly cut: 'absolute' | 'mean' }
  | { readonly measure: MeasureName; readonly cut: 'deviation'; readonly mode: Mode };

export function measureNamed(name: MeasureName): MeasureContract {
  const found = MEASURES.find((measure) => measure.name === name);
  if (found === undefined) throw new RangeError(`No measure ${name}`);
  return found;
}

export const CHOICES: readonly NeuronChoice[] = MEASURES.flatMap(({ name: measure, cuts }) =>
  cuts.flatMap((cut): NeuronChoice[] =>
    cut === 'deviation' ? MODES.map((mode) => ({ measure, cut, mode })) : [{ measure, cut }],
  ),
);
