/** What the blocks of one model are built from. */
import type { DecoderConfig } from '../config/decoder-config.ts';
import type { Weights } from '../weights.ts';
import type { RotaryTables } from './rotary.ts';

export interface DecoderParts {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  /** Weights of norms as the operator multiplies by them: Gemma's checkpoints store them less one. */
  readonly normWeights: Weights;
  /** The tables of a rotary configuration, by the name that layers call it. */
  readonly rotary: (name: string) => RotaryTables;
}
