/**
 * Selector `predictor`: chooses as `product` does, by gate and up in 4 bits in place of the true ones; what is chosen is computed
 * with those. `predictor_0` are the codes of both matrices, the gate's rows first, uint8 [2 f, blocks, 16], `predictor_1`
 * their scales [2 f * blocks], in blocks of 32 as storage int4 has them.
 *
 * A kernel reads the predictor and the rows of chosen neurons. The body computes the whole gate besides: it is there to give
 * the same numbers, not to be fast.
 */
import { attr } from '../../core/graph.ts';
import { activate } from '../activations.ts';
import { blockProduct } from './block-storage.ts';
import { chosenByScore, scaleFlags, type ThresholdScale } from './score.ts';
import type { Selector } from './selection.ts';

export interface PredictorSettings {
  readonly kind: 'predictor';
  readonly scale: ThresholdScale;
}

export const predictor: Selector<PredictorSettings> = {
  kind: 'predictor',
  flags: ({ scale }) => scaleFlags(scale),
  inputs: ['threshold', 'weights', 'predictor_0', 'predictor_1'],
  recorded: ['gate', 'up', 'down'],
  gathers: true,
  select(g, { scale }, { x, activation, runDense, project, withBias }) {
    const gate = project('gate');
    const names = ['predictor_0', 'predictor_1'] as const;
    const both = blockProduct(g, x, names, 4, ['hidden_size', 'predictor_size'], g.fresh('predicted'));
    const outputs = [g.fresh('predicted_gate'), g.fresh('predicted_up')];
    const attributes = { axis: attr.int(-1), num_outputs: attr.int(2) };
    const [predictedGate, predictedUp] = g.ops('Split', [both], { attributes, outputs });
    const predictedAct = activate(g, activation, withBias('gate', predictedGate));
    const products = g.op('Mul', [predictedAct, withBias('up', predictedUp)]);
    const chosen = chosenByScore(g, products, scale, runDense);
    return { act: g.op('Mul', [activate(g, activation, gate), chosen]), chosen: () => chosen };
  },
};
