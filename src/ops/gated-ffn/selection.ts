/** What a choice does in GatedFFN's body: decides per token which neurons count. */
import type { NeuronChoice } from '../../core/choice.ts';
import type { GraphBuilder } from '../../core/graph-builder.ts';
import type { Activation } from '../activations.ts';
import type { OptionalInput } from '../contract.ts';
import type { Projection } from './storage.ts';
import type { Storage } from './storages.ts';

export interface SelectionContext {
  /** [b, s, h] */
  readonly x: string;
  readonly activation: Activation;
  /** Makes int64 [1], known on loading: d_ff. */
  readonly neurons: () => string;
  /** bool scalar: everything is to be computed. Only bodies with a dense prefill have it. */
  readonly runDense: string | undefined;
  /** gate or up of x for every neuron: what `factor` makes of the product. */
  readonly project: (projection: Projection) => string;
  /** A product with gate or up and the bias, where the model has one; of up also activated, with dReLU. */
  readonly factor: (projection: Projection, product: string) => string;
}

/**
 * `act`: activation(gate) [b, s, d_ff], exactly 0 where a neuron is not chosen: its up and down rows are irrelevant. Or
 * `products`: activation(gate) * up, where a measure has computed that.
 */
export type Selection = ({ readonly act: string } | { readonly products: string }) & {
  /** Makes float [b, s, d_ff], 1 where a neuron is chosen, else 0, for bodies that read it; undefined when all are chosen. */
  readonly chosen: (() => string) | undefined;
};

export interface Measure {
  /** The storages that it is for, where it is not for all. */
  readonly storages?: readonly Storage[];
  /** Optional inputs that a call must give. */
  readonly inputs: readonly OptionalInput<'GatedFFN'>[];
  readonly select: (g: GraphBuilder, choice: NeuronChoice, context: SelectionContext) => Selection;
}
