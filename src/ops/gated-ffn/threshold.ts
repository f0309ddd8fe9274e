/**
 * Selector `threshold`: keeps neuron j of a token where |act(gate_j)| * weights_j >= threshold, or >= threshold times
 * the token's mean of |act(gate)| * weights (`token-mean`).
 */
import type { GraphBuilder } from '../../core/graph-builder.ts';
import { activate } from '../activations.ts';
import { castTo, reduceLast } from '../body.ts';
import type { Selector } from './selection.ts';

export const THRESHOLD_SCALES = ['absolute', 'token-mean'] as const;

export interface ThresholdSettings {
  readonly kind: 'threshold';
  readonly scale: (typeof THRESHOLD_SCALES)[number];
}

export const threshold: Selector<ThresholdSettings> = {
  kind: 'threshold',
  flags: ({ scale }) => (scale === 'token-mean' ? ['mean'] : []),
  inputs: ['threshold', 'weights'],
  select(g, gate, { scale }, { activation, runDense }) {
    const act = activate(g, activation, gate);
    const score = g.op('Mul', [g.op('Abs', [act]), 'weights']);
    const limit =
      scale === 'absolute' ? 'threshold' : g.op('Mul', [reduceLast(g, 'ReduceMean', score, true), 'threshold']);
    const chosen = castTo(g, g.op('GreaterOrEqual', [score, unlessDense(g, limit, runDense)]), 'float32');
    return { act: g.op('Mul', [act, chosen]), chosen };
  },
};

function unlessDense(g: GraphBuilder, limit: string, runDense: string | undefined): string {
  return runDense === undefined ? limit : g.op('Where', [runDense, g.float(Number.NEGATIVE_INFINITY), limit]);
}
