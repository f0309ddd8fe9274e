/**
 * What calibration measured: raw sums per layer, never fits, so that shards merge exactly.
 *
 * Sums are integers, or multiples of a power of two held in float64 without rounding; adding them in any order gives
 * the same bits. They live in a .safetensors file beside statistics.json, which binds it by hash.
 */

export interface SumTensor {
  readonly shape: readonly number[];
  readonly data: Float64Array | Uint32Array | Uint16Array;
}

/** One statistic's sums by name, as `histogram` or `count`. */
export type Sums = Readonly<Record<string, SumTensor>>;

export interface TextIdentity {
  readonly name: string;
  readonly sha256: string;
  /** Tokens of it that were fed. */
  readonly tokens: number;
}

export interface ModelIdentity {
  readonly modelType: string;
  readonly fingerprint: string;
  readonly numHiddenLayers: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
}

export interface Statistics {
  readonly model: ModelIdentity;
  readonly texts: readonly TextIdentity[];
  /** Tokens a sequence; each starts with an empty cache. */
  readonly sequenceLength: number;
  /** Indices of the sequences measured, of all those the texts were cut into: shards must not overlap. */
  readonly sequences: readonly number[];
  readonly tokens: number;
  /** Statistic name -> its sums, each with a leading axis of layers. */
  readonly sums: Readonly<Record<string, Sums>>;
}
