/**
 * Measure `gate`, before the activation: cut by its deviation it is StatisticalTopK (Spark Transformer, section 3; Gemma 3n).
 * Exact: activations of gated FFNs are 0 at 0, so a neuron with gate 0 adds nothing.
 */
import { activate } from '../activations.ts';
import { castTo } from '../body.ts';
import { statisticalTopK } from '../statistical-top-k.ts';
import type { Measure } from './selection.ts';

export const gate: Measure = {
  inputs: [],
  select(g, choice, { activation, neurons, runDense, project }) {
    if (choice.cut !== 'deviation') throw new RangeError(`Measure gate has no cut ${choice.cut}`);
    const gate = project('gate');
    const { y, chosen } = statisticalTopK(g, gate, neurons(), choice.mode);
    if (runDense === undefined)
      return { act: activate(g, activation, y), chosen: () => castTo(g, chosen(), 'float32') };
    const picked = g.op('Where', [runDense, gate, y]);
    return {
      act: activate(g, activation, picked),
      chosen: () => castTo(g, g.op('Or', [chosen(), runDense]), 'float32'),
    };
  },
};
