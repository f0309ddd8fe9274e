/**
 * Selector `statistical`: StatisticalTopK on the gate, before the activation (Spark Transformer, section 3; Gemma 3n).
 * Exact: activations of gated FFNs are 0 at 0, so a neuron with gate 0 adds nothing.
 */
import { activate } from '../activations.ts';
import { castTo } from '../body.ts';
import { statisticalTopK, type TopKMode } from '../statistical-top-k.ts';
import type { Selector } from './selection.ts';

export interface StatisticalSettings {
  readonly kind: 'statistical';
  readonly mode: TopKMode;
}

export const statistical: Selector<StatisticalSettings> = {
  kind: 'statistical',
  flags: ({ mode }) => (mode === 'hard' ? ['hard'] : []),
  inputs: [],
  recorded: ['up', 'down'],
  gathers: true,
  select(g, { mode }, { activation, neurons, runDense, project }) {
    const gate = project('gate');
    const { y, chosen } = statisticalTopK(g, gate, neurons(), mode);
    if (runDense === undefined)
      return { act: activate(g, activation, y), chosen: () => castTo(g, chosen(), 'float32') };
    const picked = g.op('Where', [runDense, gate, y]);
    return {
      act: activate(g, activation, picked),
      chosen: () => castTo(g, g.op('Or', [chosen(), runDense]), 'float32'),
    };
  },
};
