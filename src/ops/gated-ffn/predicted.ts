/**
 * Measure `predicted`: that of `product` by gate and up in 4 bits in place of the true ones, with which what is chosen is
 * computed. `predictor` holds the codes of both, the gate's rows first, uint8 [2 f, blocks, 16], `predictor_scales` their
 * scales [2 f * blocks], in blocks of 32 as storage int4 has them.
 *
 * A kernel reads the predictor and the rows of chosen neurons. The body computes the whole gate besides: it is there to give
 * the same numbers, not to be fast.
 */
import { activate } from '../activations.ts';
import { bothProducts, splitProjections } from './block-storage.ts';
import { chosenByScore } from './cuts.ts';
import type { Measure } from './selection.ts';

export const predicted: Measure = {
  inputs: ['threshold', 'weights', 'predictor', 'predictor_scales'],
  select(g, choice, { x, activation, runDense, project, withBias }) {
    const gate = project('gate');
    const both = splitProjections(g, bothProducts(g, x, ['predictor', 'predictor_scales'], 4));
    const act = activate(g, activation, withBias('gate', both.gate));
    const products = g.op('Mul', [act, withBias('up', both.up)]);
    const chosen = chosenByScore(g, products, choice, runDense);
    return { act: g.op('Mul', [activate(g, activation, gate), chosen]), chosen: () => chosen };
  },
};
