/** The materials for the blocks of one model. */
import type { Initializer } from '../../src/core/graph.ts';
import type { Precision } from '../../src/core/precision.ts';
import type { DecoderConfig } from '../config/decoder-config.ts';
import type { Weights } from '../weights.ts';
import type { rotaryTables } from './rotary.ts';

/** Type of the residual stream and the caches. */
export type Floats = Precision['floats'];

export interface DecoderParts<Config extends DecoderConfig = DecoderConfig> {
  readonly config: Config;
  readonly floats: Floats;
  readonly weights: Weights;
  /** The factor of the residual stream, a power of two. See `streamScaleOf`. */
  readonly streamScale: number;
  /** Weights of norms as the operator multiplies by them. Gemma's checkpoints store them minus one. */
  readonly normWeights: (name: string) => Initializer;
  /** The tables of a rotary configuration, by the name that layers use. */
  readonly rotary: (name: string) => ReturnType<typeof rotaryTables>;
  /** The same for a part of a head that is turned apart, of this width. */
  readonly partRotary: (name: string, width: number) => ReturnType<typeof rotaryTables>;
}
