/** What a statistic is: how it is emptied, fed one sequence at a time, merged, and read. */
import type { ModelSpec, Tap } from '../src/core/model.ts';
import type { Sums } from '../src/core/statistics.ts';

/** What a run measures in all; statistics that keep records, not sums, need the room beforehand. */
export interface RunShape {
  readonly spec: ModelSpec;
  /** Index and tokens of each sequence of this shard, ascending. */
  readonly sequences: readonly { readonly index: number; readonly tokens: number }[];
  readonly tokens: number;
}

/** One sequence passing one layer. */
export interface SequenceContext {
  readonly spec: ModelSpec;
  /** Tokens in this sequence. */
  readonly tokens: number;
  /** Tokens of this shard in sequences before it. */
  readonly firstToken: number;
  /** L2 norms of the layer's down_proj columns, one a neuron. */
  readonly downNorms: Float64Array;
}

/** Tapped values of one sequence, row by row: [tokens, `tapWidth`]. */
export type TapValues = Readonly<Record<Tap, Float32Array>>;

/** A figure a layer; the names carry the unit. */
export type Columns = Readonly<Record<string, readonly number[]>>;

export interface Statistic {
  readonly name: string;
  /** The formula, with units: printed with every result, and what makes two measurements comparable. */
  readonly definition: string;
  /** The values that `add` reads. */
  readonly taps: readonly Tap[];
  empty(shape: RunShape): Sums;
  /** Adds one sequence's values in one layer to `sums`, in place. */
  add(sums: Sums, layer: number, values: TapValues, context: SequenceContext): void;
  /** Adds one sequence's input of the output head [tokens, hidden], in place; absent where nothing of it is measured. */
  addHead?(sums: Sums, headIn: Float32Array, context: Pick<SequenceContext, 'spec' | 'tokens'>): void;
  /** The sums of two disjoint sets of sequences; in any order and grouping the bits are the same. */
  merge(a: Sums, b: Sums): Sums;
  /** Readable figures, never read back: the sums are what counts. */
  finish(sums: Sums): Columns;
}
