/** cos(h, h + FFN(norm h)) for each token: how little the block turned the residual stream (FFN-SkipLLM, section 3). */
import type { GraphBuilder } from '../../core/graph-builder.ts';
import { reduceLast } from '../body.ts';

/** The smallest normal float32: a zero vector has saturation 0 and not NaN. */
const TINY = 2 ** -126;

/** residual, y [b, s, h] -> float [b, s]. */
export function saturation(g: GraphBuilder, residual: string, y: string, output: string): void {
  const after = g.op('Add', [residual, y]);
  const dot = reduceLast(g, 'ReduceSum', g.op('Mul', [residual, after]), false);
  const squares = [residual, after].map((vector) => reduceLast(g, 'ReduceSumSquare', vector, false));
  const norms = g.op('Sqrt', [g.op('Max', [g.op('Mul', squares), g.float(TINY)])]);
  g.op('Div', [dot, norms], { outputs: [output] });
}
