/**
 * Measure `nested`: as `predicted`, by a predictor that is part of the weights and takes no memory of its own. gate and up of
 * storage int8 come in two planes of 4 bits, W = upper + lower / 16, each uint8 [2 f, blocks, 16] as storage int4 has them,
 * with one scale a block for both. Input `gate_up` is the upper plane, rounded to the nearest, so that it alone is the matrices
 * in 4 bits; `gate_up_lower` is what it lacks.
 *
 * A kernel reads the upper plane, and of chosen neurons the rows of the lower one, from the records. The body computes both.
 */
import { activate } from '../activations.ts';
import { bothProducts, splitProjections } from './block-storage.ts';
import { chosenByScore } from './cuts.ts';
import type { Measure } from './selection.ts';

export const nested: Measure = {
  storages: ['int8'],
  inputs: ['threshold', 'weights', 'gate_up_lower'],
  select(g, choice, { x, activation, runDense, withBias }) {
    const plane = (name: 'gate_up' | 'gate_up_lower') => bothProducts(g, x, [name, 'gate_up_scales'], 4);
    const products = (both: string) => {
      const { gate, up } = splitProjections(g, both);
      return g.op('Mul', [activate(g, activation, withBias('gate', gate)), withBias('up', up)]);
    };
    const upper = plane('gate_up');
    const chosen = chosenByScore(g, products(upper), choice, runDense);
    const whole = products(g.op('Add', [upper, g.op('Mul', [plane('gate_up_lower'), g.float(1 / 16)])]));
    return { products: g.op('Mul', [whole, chosen]), chosen: () => chosen };
  },
};
