/** What a statistic is: how it is emptied, fed one sequence at a time, merged, and read. */
import type { ModelSpec, PostNormTap, Tap } from '../src/core/model.ts';
import type { LayerSums, Sums } from '../src/core/statistics.ts';

/** What a run measures in all; statistics that keep records, not sums, need the room beforehand. */
export interface RunShape {
  readonly spec: ModelSpec;
  /** Index and tokens of each sequence of this shard, ascending. */
  readonly sequences: readonly { readonly index: number; readonly tokens: number }[];
  readonly tokens: number;
}

/** One sequence at the output head. */
export interface HeadContext {
  readonly spec: ModelSpec;
  /** Tokens in this sequence. */
  readonly tokens: number;
  /** xᵀ x of values [tokens, width], in float32, by the runtime. */
  readonly square: (x: Float32Array, width: number) => Promise<Float32Array>;
}

/** One sequence passing one layer. */
export interface SequenceContext extends HeadContext {
  /** Tokens of this shard in sequences before it. */
  readonly firstToken: number;
  /** L2 norms of the layer's down_proj columns, one a neuron. */
  readonly downNorms: Float64Array;
}

/** Tapped values of one sequence, row by row: [tokens, `tapWidth`]. */
export type TapValues = Readonly<Record<Tap, Float32Array> & Partial<Record<PostNormTap, Float32Array>>>;

/** Sums while they are being measured. */
export type OpenSums = Record<string, Sums[string]>;

/** Takes the sums of a layer as it is done, of statistics that are measured `byLayer`; the head comes after the last layer. */
export interface LayerKeeper {
  /** Whether a layer is measured; all are when absent. */
  readonly wants?: (layer: number) => boolean;
  /** What stays of the sums: undefined where they were used up. */
  readonly keep: (sums: Sums, layer: number) => Promise<LayerSums | undefined>;
}

/** A figure a layer; the names carry the unit. */
export type Columns = Readonly<Record<string, readonly number[]>>;

export interface Statistic {
  readonly name: string;
  /** The formula, with units: printed with every result, and what makes two measurements comparable. */
  readonly definition: string;
  /** The values that `add` reads; those of `POST_NORM_TAPS` only where the model has them. */
  readonly taps: readonly (Tap | PostNormTap)[];
  /**
   * Whether the sums of all layers are too large to be held together. Such a statistic is measured only where it is asked for.
   * It begins each layer, and the output head, with sums that are empty, and hands them on when the layer is done.
   */
  readonly byLayer?: boolean;
  /** Of all layers; `byLayer`: of one, before its first sequence. */
  empty(shape: RunShape): OpenSums;
  /** Adds one sequence's values in one layer to `sums`, in place. */
  add(sums: OpenSums, layer: number, values: TapValues, context: SequenceContext): void | Promise<void>;
  /** Adds one sequence's input of the output head [tokens, hidden], in place; absent where nothing of it is measured. */
  addHead?(sums: OpenSums, headIn: Float32Array, context: HeadContext): void | Promise<void>;
  /** The sums of two disjoint sets of sequences; in any order and grouping the bits are the same. */
  merge(a: Sums, b: Sums): Sums;
  /** Readable figures, never read back: the sums are what counts. */
  finish(sums: Sums): Columns;
}
