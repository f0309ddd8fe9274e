/** Where a score is cut: absolutely, or relative to the token's own scores. */
import type { NeuronChoice } from '../../core/choice.ts';
import type { GraphBuilder } from '../../core/graph-builder.ts';
import { castTo, reduceLast } from '../body.ts';

/** The least weight that thresholds are divided by, float32's least normal number: 0 then lets a threshold of 0 pass. */
const LEAST_WEIGHT = 2 ** -126;

/**
 * `measure` [b, s, d_ff] -> float 1 where |measure_j| * weights_j >= threshold, or >= threshold times the token's mean of the
 * left side (cut `mean`), else 0. All are 1 where `runDense` is true.
 *
 * An absolute cut is |measure_j| >= threshold / weights_j, of which the right side is known on loading.
 */
export function chosenByScore(
  g: GraphBuilder,
  measure: string,
  { cut }: NeuronChoice,
  runDense: string | undefined,
): string {
  const size = g.op('Abs', [measure]);
  const { score, limit } = cut === 'mean' ? meanCut(g, size) : absoluteCut(g, size);
  const reached = runDense === undefined ? limit : g.op('Where', [runDense, g.float(Number.NEGATIVE_INFINITY), limit]);
  return castTo(g, g.op('GreaterOrEqual', [score, reached]), 'float32');
}

interface Cut {
  readonly score: string;
  readonly limit: string;
}

function absoluteCut(g: GraphBuilder, size: string): Cut {
  return { score: size, limit: g.op('Div', ['threshold', g.op('Max', ['weights', g.float(LEAST_WEIGHT)])]) };
}

function meanCut(g: GraphBuilder, size: string): Cut {
  const score = g.op('Mul', [size, 'weights']);
  return { score, limit: g.op('Mul', [reduceLast(g, 'ReduceMean', score, true), 'threshold']) };
}
