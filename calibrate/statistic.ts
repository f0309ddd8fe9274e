/** The interface of a statistic: how it is emptied, fed one sequence at a time, merged, and read. */
import type { ModelSpec, PostNormTap, Tap } from '../src/core/model.ts';
import type { LayerSums, Sums } from '../src/core/statistics.ts';

/** The extent of a run. Statistics that keep records, not sums, reserve their memory by it. */
export interface RunShape {
  readonly spec: ModelSpec;
  /** Index and tokens of each sequence of this shard, ascending. */
  readonly sequences: readonly { readonly index: number; readonly tokens: number }[];
  readonly tokens: number;
}

/** One sequence at the output head. */
export interface HeadContext {
  readonly spec: ModelSpec;
  readonly tokens: number;
  /** xᵀ x of values [tokens, width], in float32, computed by the runtime. Only for a statistic that `usesRuntime`. */
  readonly square: (x: Float32Array, width: number) => Promise<Float32Array>;
}

/** One sequence passing one layer. */
export interface SequenceContext extends HeadContext {
  /** Tokens of this shard in earlier sequences. */
  readonly firstToken: number;
  /** L2 norms of the layer's down_proj columns, one for each neuron. */
  readonly downNorms: Float64Array;
}

/** Tapped values of one sequence, row by row: [tokens, `tapWidth`]. */
export type TapValues = Readonly<Record<Tap, Float32Array> & Partial<Record<PostNormTap, Float32Array>>>;

/** Sums while they are being measured. */
export type OpenSums = Record<string, Sums[string]>;

/** For statistics `byLayer`: takes the sums of each layer when it is done. The head comes after the last layer. */
export interface LayerKeeper {
  /** Whether a statistic measures a layer. If absent, all measure all. */
  readonly wants?: (layer: number, statistic: string) => boolean;
  /** What remains of the sums; undefined if they were used up. */
  readonly keep: (sums: Sums, layer: number, statistic: string) => Promise<LayerSums | undefined>;
}

/** A layer's figures by name. They are never read back. */
export type Figures = Readonly<Record<string, number>>;

/** What people read first of a statistic. */
export interface StatisticTable {
  /** Some of its figures. The tables of all statistics stand side by side: seven columns in all fit a terminal. */
  readonly columns: readonly Column[];
  /** What the columns are, and what follows from all layers for whoever plans. */
  readonly follows: (layers: readonly Figures[]) => string;
}

export interface Column {
  readonly figure: string;
  readonly title: string;
  /** "%" for a share of 1, "" for a number without a unit. */
  readonly unit: '%' | '';
}

/**
 * A copy of a sequence that goes on from each layer with something else than what its FFN block added. At the head, the
 * copy is compared with the sequence.
 */
export interface Detour {
  /** Whether the sequence of this index takes it. Few should: each takes half of the model's time for each layer. */
  takes(sequence: number): boolean;
  /** What the block adds in the copy, [tokens, hidden]. May add to `sums`, in place. */
  leave(sums: OpenSums, layer: number, values: TapValues, context: Pick<HeadContext, 'spec' | 'tokens'>): Float32Array;
  /** Adds, in place, what came of the copy: the sum of KL(model ‖ copy) over these positions, in nats. */
  arrive(sums: OpenSums, layer: number, nats: number, positions: number): void;
}

export interface Statistic {
  readonly name: string;
  /** The formula, with units. Every result prints it. Two measurements are comparable only with the same formula. */
  readonly definition: string;
  /** The values that `add` reads. Those of `POST_NORM_TAPS` are there only if the model has them. */
  readonly taps: readonly (Tap | PostNormTap)[];
  /**
   * Whether the sums of all layers are too large for memory. Such a statistic begins each layer with empty sums, and
   * hands them on when the layer is done. So does the head, if it is measured.
   */
  readonly byLayer?: boolean;
  /** Whether it is measured only on request (`--with NAME`), because few need it and it costs much. */
  readonly onRequest?: boolean;
  /** Whether it uses `square`. Then it is added beside the runtime, in one place. Others are shared among threads. */
  readonly usesRuntime?: boolean;
  /** Empty sums for all layers; with `byLayer`, for one layer before its first sequence. */
  empty(shape: RunShape): OpenSums;
  /**
   * Adds one sequence's values in one layer to `sums`, in place. Its loops belong into functions of the module that it
   * calls for each token: what V8 compiled for a loop in `add`, or for a closure, seems to be lost when it collects garbage.
   */
  add(sums: OpenSums, layer: number, values: TapValues, context: SequenceContext): void | Promise<void>;
  /** Absent if nothing is changed to see what comes of it. A statistic that has one is added beside the runtime. */
  readonly detour?: Detour;
  /** Adds one sequence's input of the output head [tokens, hidden], in place. Absent if the head is not measured. */
  addHead?(sums: OpenSums, headIn: Float32Array, context: HeadContext): void | Promise<void>;
  /** The sums of two disjoint sets of sequences. Any order and grouping gives the same bits. */
  merge(a: Sums, b: Sums): Sums;
  finish(sums: Sums, layer: number): Figures;
  /** Absent where its figures help nobody to choose. */
  readonly table?: StatisticTable;
}
