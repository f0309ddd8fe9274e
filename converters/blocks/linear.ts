/** A linear layer whose weight stays as the checkpoint has it, [out, in]. */
import { attr, type Initializer } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';

/** x [..., in] -> x W^T (+ bias) [..., out]; `output` names the result. */
export function linear(
  g: GraphBuilder,
  x: string,
  weight: Initializer,
  bias: Initializer | undefined,
  output = g.fresh('linear'),
): string {
  const product = bias === undefined ? output : g.fresh('product');
  g.contrib('FusedMatMul', [x, g.initializer(weight.name, weight.data)], {
    attributes: { transB: attr.int(1) },
    outputs: [product],
  });
  if (bias === undefined) return output;
  return g.op('Add', [product, g.initializer(bias.name, bias.data)], { outputs: [output] });
}
