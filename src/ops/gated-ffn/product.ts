/**
 * Selector `product`: keeps neuron j of a token where |act(gate_j) * up_j| * weights_j reaches the threshold, as `threshold`
 * does with |act(gate_j)| alone. With weights_j = ||down_j|| that is the size of what the neuron adds to y: no selector that
 * keeps as many leaves out less. Gate and up are computed for every neuron; only `down` is sparse.
 */
import { activate } from '../activations.ts';
import { chosenByScore, scaleFlags, type ThresholdScale } from './score.ts';
import type { Selector } from './selection.ts';

export interface ProductSettings {
  readonly kind: 'product';
  readonly scale: ThresholdScale;
}

export const product: Selector<ProductSettings> = {
  kind: 'product',
  flags: ({ scale }) => scaleFlags(scale),
  inputs: ['threshold', 'weights'],
  recorded: ['down'],
  gathers: false,
  select(g, { scale }, { activation, runDense, project }) {
    const products = g.op('Mul', [activate(g, activation, project('gate')), project('up')]);
    const chosen = chosenByScore(g, products, scale, runDense);
    return { products: g.op('Mul', [products, chosen]), chosen: () => chosen };
  },
};
