/** What selectors by score share: the cut, absolute or relative to the token's own scores. */
import type { GraphBuilder } from '../../core/graph-builder.ts';
import { castTo, reduceLast } from '../body.ts';

export const THRESHOLD_SCALES = ['absolute', 'token-mean'] as const;
export type ThresholdScale = (typeof THRESHOLD_SCALES)[number];

/** What the op type says of a scale. */
export function scaleFlags(scale: ThresholdScale): readonly string[] {
  return scale === 'token-mean' ? ['mean'] : [];
}

/**
 * `measure` [b, s, d_ff] -> float 1 where |measure_j| * weights_j >= threshold, or >= threshold times the token's mean of the left
 * side (`token-mean`), else 0. All are 1 where `runDense` is true.
 */
export function chosenByScore(
  g: GraphBuilder,
  measure: string,
  scale: ThresholdScale,
  runDense: string | undefined,
): string {
  const score = g.op('Mul', [g.op('Abs', [measure]), 'weights']);
  const limit =
    scale === 'absolute' ? 'threshold' : g.op('Mul', [reduceLast(g, 'ReduceMean', score, true), 'threshold']);
  return castTo(g, g.op('GreaterOrEqual', [score, unlessDense(g, limit, runDense)]), 'float32');
}

function unlessDense(g: GraphBuilder, limit: string, runDense: string | undefined): string {
  return runDense === undefined ? limit : g.op('Where', [runDense, g.float(Number.NEGATIVE_INFINITY), limit]);
}
