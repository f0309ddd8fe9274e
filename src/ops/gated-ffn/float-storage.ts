/** Weights as floats: fp32, and bf16, which the body widens before it uses it. */
import { attr } from '../../core/graph.ts';
import type { GraphBuilder } from '../../core/graph-builder.ts';
import type { StorageKind } from './storage.ts';

/** `widen`: a runtime widens whole matrices once, when it loads them, and gathered rows as they are used. */
function floats<Name extends string>(name: Name, widen: (g: GraphBuilder, weight: string) => string) {
  const rowsOf = (g: GraphBuilder, weight: string, rows: string) =>
    widen(g, g.op('Gather', [weight, rows], { attributes: { axis: attr.int(0) } }));
  return {
    name,
    inputs: ['down'],
    hasRecords: false,
    projections: ['gate', 'up'],
    splitProjections: ['gate', 'up'],
    sized: false,
    branches: true,
    project: (g, x, projection) => transposedProduct(g, x, widen(g, projection)),
    projectBoth: undefined,
    combine: (g, act, output) => g.op('MatMul', [act, widen(g, 'down')], { outputs: [output] }),
    gathered: {
      project: (g, x, rows) => transposedProduct(g, x, rowsOf(g, 'up', rows)),
      combine: (g, act, rows, output) => g.op('MatMul', [act, rowsOf(g, 'down', rows)], { outputs: [output] }),
    },
  } as const satisfies StorageKind;
}

/** x W^T: weights are neuron-major. */
function transposedProduct(g: GraphBuilder, x: string, weight: string): string {
  return g.contrib('FusedMatMul', [x, weight], { attributes: { transB: attr.int(1) } });
}

/** float32 [f, h] each. */
export const fp32 = floats('fp32', (_, weight) => weight);

/** bfloat16 [f, h] each. */
export const bf16 = floats('bf16', (g, weight) => g.cast(weight, 'float32'));
