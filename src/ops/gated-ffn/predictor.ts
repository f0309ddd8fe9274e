/**
 * Selector `predictor`: chooses as `product` does, by gate and up in 4 bits in place of the true ones; what is chosen is computed
 * with those. `predictor` holds the codes of both, the gate's rows first, uint8 [2 f, blocks, 16], `predictor_scales` their
 * scales [2 f * blocks], in blocks of 32 as storage int4 has them.
 *
 * A kernel reads the predictor and the rows of chosen neurons. The body computes the whole gate besides: it is there to give
 * the same numbers, not to be fast.
 */
import { activate } from '../activations.ts';
import { bothProducts, splitProjections } from './block-storage.ts';
import { chosenByScore, scaleFlags, type ThresholdScale } from './score.ts';
import type { Selector } from './selection.ts';

export interface PredictorSettings {
  readonly kind: 'predictor';
  readonly scale: ThresholdScale;
}

export const predictor: Selector<PredictorSettings> = {
  kind: 'predictor',
  flags: ({ scale }) => scaleFlags(scale),
  inputs: ['threshold', 'weights', 'predictor', 'predictor_scales'],
  recorded: ['gate', 'up', 'down'],
  gathers: true,
  select(g, { scale }, { x, activation, runDense, project, withBias }) {
    const gate = project('gate');
    const predicted = splitProjections(g, bothProducts(g, x, ['predictor', 'predictor_scales'], 4));
    const predictedAct = activate(g, activation, withBias('gate', predicted.gate));
    const products = g.op('Mul', [predictedAct, withBias('up', predicted.up)]);
    const chosen = chosenByScore(g, products, scale, runDense);
    return { act: g.op('Mul', [activate(g, activation, gate), chosen]), chosen: () => chosen };
  },
};
