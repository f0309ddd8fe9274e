/** What selectors by score share: the cut, absolute or relative to the token's own scores. */
import type { GraphBuilder } from '../../core/graph-builder.ts';
import { castTo, reduceLast } from '../body.ts';

export const THRESHOLD_SCALES = ['absolute', 'token-mean'] as const;
export type ThresholdScale = (typeof THRESHOLD_SCALES)[number];

/** What the op type says of a scale. */
export function scaleFlags(scale: ThresholdScale): readonly string[] {
  return scale === 'token-mean' ? ['mean'] : [];
}

/** The least weight that thresholds are divided by, float32's least normal number: 0 then lets a threshold of 0 pass. */
const LEAST_WEIGHT = 2 ** -126;

/**
 * `measure` [b, s, d_ff] -> float 1 where |measure_j| * weights_j >= threshold, or >= threshold times the token's mean of the
 * left side (`token-mean`), else 0. All are 1 where `runDense` is true.
 *
 * An absolute cut is |measure_j| >= threshold / weights_j, of which the right side is known on loading.
 */
export function chosenByScore(
  g: GraphBuilder,
  measure: string,
  scale: ThresholdScale,
  runDense: string | undefined,
): string {
  const { score, limit } = cutOf(g, g.op('Abs', [measure]), scale);
  return castTo(g, g.op('GreaterOrEqual', [score, unlessDense(g, limit, runDense)]), 'float32');
}

function cutOf(
  g: GraphBuilder,
  size: string,
  scale: ThresholdScale,
): { readonly score: string; readonly limit: string } {
  if (scale === 'absolute')
    return { score: size, limit: g.op('Div', ['threshold', g.op('Max', ['weights', g.float(LEAST_WEIGHT)])]) };
  const score = g.op('Mul', [size, 'weights']);
  return { score, limit: g.op('Mul', [reduceLast(g, 'ReduceMean', score, true), 'threshold']) };
}

function unlessDense(g: GraphBuilder, limit: string, runDense: string | undefined): string {
  return runDense === undefined ? limit : g.op('Where', [runDense, g.float(Number.NEGATIVE_INFINITY), limit]);
}
