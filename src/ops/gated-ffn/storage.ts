/** How GatedFFN's weights are stored, and how its body multiplies by them. */
import type { GraphBuilder } from '../../core/graph-builder.ts';
import type { OptionalInput } from '../contract.ts';

/** The matrices that x is multiplied by; neuron-major, a row a neuron. */
export type Projection = 'gate' | 'up';

/** gate x and up x, [..., f] each. */
export type Projections = Readonly<Record<Projection, string>>;

/** Attributes of a calling node that say how many entries a matrix is multiplied with. */
export type InputSize = 'hidden_size' | 'gate_inputs' | 'up_inputs';

export interface StorageKind {
  /** Optional inputs that a call must give, beside those of gate and up, and beside records. */
  readonly inputs: readonly OptionalInput<'GatedFFN'>[];
  /** What a call names gate and up by, and the same where each reads its own part of x. */
  readonly projections: readonly OptionalInput<'GatedFFN'>[];
  readonly splitProjections: readonly OptionalInput<'GatedFFN'>[];
  /** Whether a call says `hidden_size` and `intermediate_size`, which cannot be read from the shapes of packed weights. */
  readonly sized: boolean;
  /** Whether a masked body skips its products by a branch where no token is active. */
  readonly branches: boolean;
  /** x W^T: [..., size] -> [..., f]. */
  readonly project: (g: GraphBuilder, x: string, projection: Projection, size: InputSize) => string;
  /** The same with gate and up at once, where they are one matrix. */
  readonly projectBoth?: (g: GraphBuilder, x: string) => Projections;
  /** act down: [..., f] -> [..., h]; `output` names the result. */
  readonly combine: (g: GraphBuilder, act: string, output: string) => string;
  /** The same where `down` is in `records` as well, where kernels read chosen rows from this input; it is stored otherwise. */
  readonly combineRecorded?: (g: GraphBuilder, act: string, output: string) => string;
  /**
   * The same with the neurons `rows`, int64 [n], alone: [..., h] -> [..., n] and [..., n] -> [..., h]. undefined where
   * no runtime gathers such rows in less time than it multiplies by all.
   */
  readonly gathered?: {
    readonly project: (g: GraphBuilder, x: string, rows: string) => string;
    readonly combine: (g: GraphBuilder, act: string, rows: string, output: string) => string;
  };
}
