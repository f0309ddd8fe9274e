/** Scales of weights in blocks, as our operators take them. */
import type { Initializer, Node } from '../core/graph.ts';
import type { GraphIndex } from './graph-index.ts';

export type BlockScales =
  | { readonly kind: 'scales'; readonly tensor: Initializer; readonly widened: Node }
  | { readonly kind: 'refused'; readonly reason: string };

/** The float16 tensor behind the scales that a product reads, and the Cast to float32 between them; no other is exact in half the bytes. */
export function blockScales(index: GraphIndex, value: string): BlockScales {
  const widened = index.producer(value);
  const tensor = index.initializers.get(widened?.opType === 'Cast' ? widened.inputs[0] : value);
  if (tensor === undefined) return { kind: 'refused', reason: `${value} is computed` };
  if (widened === undefined || tensor.data.dtype !== 'float16')
    return { kind: 'refused', reason: `${tensor.name} is ${tensor.data.dtype}, wanted float16` };
  return { kind: 'scales', tensor, widened };
}
