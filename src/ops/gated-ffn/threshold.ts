/**
 * Selector `threshold`: keeps neuron j of a token where |act(gate_j)| * weights_j >= threshold, or >= threshold times
 * the token's mean of |act(gate)| * weights (`token-mean`).
 */
import { activate } from '../activations.ts';
import { chosenByScore, scaleFlags, type ThresholdScale } from './score.ts';
import type { Selector } from './selection.ts';

export interface ThresholdSettings {
  readonly kind: 'threshold';
  readonly scale: ThresholdScale;
}

export const threshold: Selector<ThresholdSettings> = {
  kind: 'threshold',
  flags: ({ scale }) => scaleFlags(scale),
  inputs: ['threshold', 'weights'],
  recorded: ['up', 'down'],
  gathers: true,
  select(g, { scale }, { activation, runDense, project }) {
    const act = activate(g, activation, project('gate'));
    const chosen = chosenByScore(g, act, scale, runDense);
    return { act: g.op('Mul', [act, chosen]), chosen: () => chosen };
  },
};
