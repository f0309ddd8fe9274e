/** Weights as floats: fp32; bf16, which the body widens before it uses it; fp16, which it multiplies by as it is. */
import { attr } from '../../core/graph.ts';
import type { GraphBuilder } from '../../core/graph-builder.ts';
import type { StorageKind } from './storage.ts';

/** `widen`: a runtime widens whole matrices once, when it loads them, and gathered rows as they are used. */
function floats(widen: (g: GraphBuilder, weight: string) => string): StorageKind {
  const rowsOf = (g: GraphBuilder, weight: string, rows: string) =>
    widen(g, g.op('Gather', [weight, rows], { attributes: { axis: attr.int(0) } }));
  return {
    inputs: ['down'],
    projections: ['gate', 'up'],
    splitProjections: ['gate', 'up'],
    sized: false,
    branches: true,
    project: (g, x, projection) => transposedProduct(g, x, widen(g, projection)),
    combine: (g, act, output) => g.op('MatMul', [act, widen(g, 'down')], { outputs: [output] }),
    gathered: {
      project: (g, x, rows) => transposedProduct(g, x, rowsOf(g, 'up', rows)),
      combine: (g, act, rows, output) => g.op('MatMul', [act, rowsOf(g, 'down', rows)], { outputs: [output] }),
    },
  };
}

/** x W^T: weights are neuron-major. */
function transposedProduct(g: GraphBuilder, x: string, weight: string): string {
  return g.contrib('FusedMatMul', [x, weight], { attributes: { transB: attr.int(1) } });
}

/** float32 [f, h] each. */
export const fp32 = floats((_, weight) => weight);

/** bfloat16 [f, h] each. */
export const bf16 = floats((g, weight) => g.cast(weight, 'float32'));

/**
 * float16 [f, h] each, for GPUs: the body multiplies by them as they are, since a runtime would widen them in the
 * device's memory on loading. Nor does it branch: the host would have to wait for the device in every block.
 */
export const fp16: StorageKind = {
  inputs: ['down'],
  projections: ['gate', 'up'],
  splitProjections: ['gate', 'up'],
  sized: false,
  branches: false,
  project: (g, x, projection) => narrowProduct(g, x, transposed(g, projection)),
  combine: (g, act, output) => narrowProduct(g, act, 'down', output),
};

/** Not every runtime has FusedMatMul in float16; a weight is transposed once, when it is loaded. */
function transposed(g: GraphBuilder, weight: string): string {
  return g.op('Transpose', [weight], { attributes: { perm: attr.ints([1, 0]) } });
}

/** float32 [..., n] times float16 [n, m], multiplied in float16. */
function narrowProduct(g: GraphBuilder, x: string, weight: string, output = g.fresh('product')): string {
  return g.cast(g.op('MatMul', [g.cast(x, 'float16'), weight]), 'float32', output);
}
