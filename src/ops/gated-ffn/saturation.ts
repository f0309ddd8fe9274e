/** cos(h, h + FFN(norm h)) for each token: how little the block turned the residual stream (FFN-SkipLLM, section 3). */
import { attr } from '../../core/graph.ts';
import type { GraphBuilder } from '../../core/graph-builder.ts';
import { float32Tensor } from '../../core/tensor.ts';
import { reduceLast } from '../body.ts';

/** Far below the mean square of any residual stream; gives a zero vector saturation 0 and not NaN. */
const EPSILON = 1e-30;

/**
 * residual, y [b, s, h] -> float [b, s]. The cosine is the mean product of both vectors divided by their root mean
 * squares: two norms instead of the nine operators of the textbook's formula, which show at the sizes of one token.
 */
export function saturation(g: GraphBuilder, residual: string, y: string, ones: string): string {
  const attributes = { epsilon: attr.float(EPSILON) };
  const before = g.op('SimplifiedLayerNormalization', [residual, ones], {
    attributes: { ...attributes, axis: attr.int(-1), stash_type: attr.int(1) },
  });
  const after = g.contrib('SkipSimplifiedLayerNormalization', [residual, y, ones], { attributes });
  return reduceLast(g, 'ReduceMean', g.op('Mul', [before, after]), false);
}

/** The norms' weight, [h], where `hiddenSize` is int64 [1]: one that is known on loading, so that this is computed once. */
export function onesForSaturation(g: GraphBuilder, hiddenSize: string): string {
  return g.op('ConstantOfShape', [hiddenSize], { attributes: { value: attr.tensor(float32Tensor([1])) } });
}
