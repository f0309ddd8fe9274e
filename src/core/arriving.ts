/**
 * What a block that is to be replaced is fitted to once blocks before it are replaced: the tokens that arrive at it. A
 * walk through the model makes them (calibrate/refit.ts), and a preset fits by them (src/plan/refit.ts).
 */

/** All tokens of a walk at one block, sequence after sequence. Rows are [tokens, hidden]. */
export interface ArrivingTokens {
  /** The position of each in its sequence. */
  readonly positions: Uint32Array;
  /** The block's normed input, with what stands in the places of earlier blocks. */
  readonly x: Float32Array;
  /** What has to be added to the stream that arrives, for the stream to be the model's own again. */
  readonly wanted: Float32Array;
  /** One over the mean square of the model's own stream after the block, plus 1e-6: by it an error counts as a share. */
  readonly factors: Float64Array;
}

/** What is added to the stream in the block's place, [tokens, hidden], and whether a token takes it: 1, or 0. */
export interface StandIn {
  readonly rows: Float32Array;
  readonly skips: Uint8Array;
}

/** Products that the runtime computes, in float32. */
export interface Products {
  /** xᵀ x of rows x, [n, width]: [width, width]. */
  square(x: Float32Array, width: number): Promise<Float32Array>;
  /** x mᵀ of rows x, [n, width], and a matrix m, [rows, width]: [n, rows]. */
  times(x: Float32Array, m: Float32Array, width: number): Promise<Float32Array>;
}

/** Says what stands in a layer's FFN block, by the tokens that arrive at it. */
export type FitStandIn = (layer: number, tokens: ArrivingTokens, products: Products) => Promise<StandIn>;
