/** A linear layer with the weight as in the checkpoint, [out, in]. */
import type { Initializer } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import type { Weight } from '../weights.ts';
import { product } from './product.ts';

/** x [..., in] -> x W^T (+ bias) [..., out]; `output` names the result. */
export function linear(
  g: GraphBuilder,
  x: string,
  weight: Weight,
  bias: Initializer | undefined,
  output = g.fresh('linear'),
): string {
  const { linear: storage } = weight.precision;
  if (bias === undefined) return product(g, x, weight, storage, output);
  const sum = product(g, x, weight, storage, g.fresh('product'));
  return g.op('Add', [sum, g.initializer(bias.name, bias.data)], { outputs: [output] });
}
