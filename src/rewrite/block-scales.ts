/** Scales of weights in blocks, as our operators take them. */
import type { Initializer, Node } from '../core/graph.ts';
import type { GraphIndex } from './graph-index.ts';

export type BlockScales =
  | { readonly kind: 'scales'; readonly tensor: Initializer; readonly widened: Node }
  | { readonly kind: 'refused'; readonly reason: string };

/** The float16 tensor behind the scales that a product reads, and the Cast between them; no other is exact in half the bytes. */
export function blockScales(index: GraphIndex, value: string): BlockScales {
  const refused = (reason: string): BlockScales => ({ kind: 'refused', reason });
  const widened = index.producer(value);
  const tensor = index.initializers.get(widened?.opType === 'Cast' ? widened.inputs[0] : value);
  if (tensor === undefined) return refused(`${value} is computed`);
  if (tensor.data.dtype !== 'float16') return refused(`${tensor.name} is ${tensor.data.dtype}, wanted float16`);
  // Of graphs in float16, which multiply by them as they are.
  if (widened === undefined) return refused(`${tensor.name} is not cast to float32`);
  return { kind: 'scales', tensor, widened };
}
