/** Measure `activation`: |act(gate_j)| * weights_j (CATS, 2404.08763, with weights for what a neuron can do). */
import { activate } from '../activations.ts';
import { chosenByScore } from './cuts.ts';
import type { Measure } from './selection.ts';

export const activation: Measure = {
  inputs: ['threshold', 'weights'],
  recorded: ['up', 'down'],
  gathers: true,
  select(g, choice, { activation, runDense, project }) {
    const act = activate(g, activation, project('gate'));
    const chosen = chosenByScore(g, act, choice, runDense);
    return { act: g.op('Mul', [act, chosen]), chosen: () => chosen };
  },
};
