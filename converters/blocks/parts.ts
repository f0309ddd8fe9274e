/** What the blocks of one model are built from. */
import type { Initializer } from '../../src/core/graph.ts';
import type { Precision } from '../../src/core/precision.ts';
import type { DecoderConfig } from '../config/decoder-config.ts';
import type { Weights } from '../weights.ts';
import type { RotaryTables } from './rotary.ts';

/** Type of the residual stream and the caches. */
export type Floats = Precision['floats'];

export interface DecoderParts {
  readonly config: DecoderConfig;
  readonly floats: Floats;
  readonly weights: Weights;
  /** What the residual stream is multiplied by; a power of two. See `streamScaleOf`. */
  readonly streamScale: number;
  /** Weights of norms as the operator multiplies by them: Gemma's checkpoints store them less one. */
  readonly normWeights: (name: string) => Initializer;
  /** The tables of a rotary configuration, by the name that layers call it. */
  readonly rotary: (name: string) => RotaryTables;
}
