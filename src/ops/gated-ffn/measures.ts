/** The measures of src/core/choice.ts as bodies compute them: a new one is an entry here. */
import type { MeasureName, NeuronChoice } from '../../core/choice.ts';
import { activate } from '../activations.ts';
import { chosenByScore } from './cuts.ts';
import { gate } from './gate.ts';
import { nested } from './nested.ts';
import { predicted } from './predicted.ts';
import type { Measure } from './selection.ts';

const BY_NAME: Readonly<Record<MeasureName, Measure>> = {
  gate,
  /** CATS (2404.08763), with weights for what a neuron can do. */
  activation: {
    inputs: ['threshold', 'weights'],
    select(g, choice, { activation, runDense, project }) {
      const act = activate(g, activation, project('gate'));
      const chosen = chosenByScore(g, act, choice, runDense);
      return { act: g.op('Mul', [act, chosen]), chosen: () => chosen };
    },
  },
  /** With weights_j = ||down_j|| the size of what the neuron adds to y: no measure that keeps as many leaves out less. */
  product: {
    inputs: ['threshold', 'weights'],
    select(g, choice, { activation, runDense, project }) {
      const products = g.op('Mul', [activate(g, activation, project('gate')), project('up')]);
      const chosen = chosenByScore(g, products, choice, runDense);
      return { products: g.op('Mul', [products, chosen]), chosen: () => chosen };
    },
  },
  predicted,
  nested,
};

export function measureOf({ measure }: NeuronChoice): Measure {
  return BY_NAME[measure];
}
