/**
 * Weights as float16, for GPUs: the body multiplies by them as they are, since a runtime would widen them in the
 * device's memory on loading. Nor does it branch: the host would have to wait for the device in every block.
 */
import { attr } from '../../core/graph.ts';
import type { GraphBuilder } from '../../core/graph-builder.ts';
import type { StorageKind } from './storage.ts';

/** float16 [f, h] each. */
export const fp16 = {
  name: 'fp16',
  inputs: ['down'],
  hasRecords: false,
  projections: ['gate', 'up'],
  splitProjections: ['gate', 'up'],
  sized: false,
  branches: false,
  project: (g, x, projection) => narrowProduct(g, x, transposed(g, projection)),
  projectBoth: undefined,
  combine: (g, act, output) => narrowProduct(g, act, 'down', output),
  gathered: undefined,
} as const satisfies StorageKind;

/** Not every runtime has FusedMatMul in float16; a weight is transposed once, when it is loaded. */
function transposed(g: GraphBuilder, weight: string): string {
  return g.op('Transpose', [weight], { attributes: { perm: attr.ints([1, 0]) } });
}

/** float32 [..., n] times float16 [n, m], multiplied in float16. */
function narrowProduct(g: GraphBuilder, x: string, weight: string, output = g.fresh('product')): string {
  return g.cast(g.op('MatMul', [g.cast(x, 'float16'), weight]), 'float32', output);
}
