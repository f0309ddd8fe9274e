/**
 * Measure `product`: |act(gate_j) * up_j| * weights_j. With weights_j = ||down_j|| that is the size of what the neuron adds to y:
 * no measure that keeps as many leaves out less. Gate and up are computed for every neuron; only `down` is sparse.
 */
import { activate } from '../activations.ts';
import { chosenByScore } from './cuts.ts';
import type { Measure } from './selection.ts';

export const product: Measure = {
  inputs: ['threshold', 'weights'],
  recorded: ['down'],
  gathers: false,
  select(g, choice, { activation, runDense, project }) {
    const products = g.op('Mul', [activate(g, activation, project('gate')), project('up')]);
    const chosen = chosenByScore(g, products, choice, runDense);
    return { products: g.op('Mul', [products, chosen]), chosen: () => chosen };
  },
};
