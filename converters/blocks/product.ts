/** Linear layers: x W^T for a weight [out, in], by the operator for the weight's storage. */
import { attr, type Initializer } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import type { WeightStorage } from '../../src/core/precision.ts';
import { cast, transpose } from '../../src/core/tensor.ts';
import type { Weight } from '../weights.ts';
import { blockProduct } from './block-weights.ts';

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

/** x [..., in] -> x W^T [..., out], called `output`. */
export function product(g: GraphBuilder, x: string, weight: Weight, storage: WeightStorage, output: string): string {
  switch (storage.kind) {
    case 'float':
      return floatProduct(g, x, weight, output);
    case 'widened': {
      const narrow = g.initializer(weight.name, cast(weight.data, storage.dtype));
      return fusedProduct(g, x, g.cast(narrow, 'float32', g.fresh('float32')), output);
    }
    case 'transposed':
      return g.op('MatMul', [x, g.initializer(`${weight.name}.transposed`, transpose(weight.data))], {
        outputs: [output],
      });
    case 'blocks':
      return blockProduct(g, x, weight, storage, output);
  }
}

function floatProduct(g: GraphBuilder, x: string, weight: Weight, output: string): string {
  const name = g.initializer(weight.name, weight.data);
  if (weight.precision.floats === 'float32') return fusedProduct(g, x, name, output);
  // FusedMatMul does not exist everywhere in float16. A runtime transposes a weight once, when it loads it.
  const transposed = g.op('Transpose', [name], { attributes: { perm: attr.ints([1, 0]) } });
  return g.op('MatMul', [x, transposed], { outputs: [output] });
}

function fusedProduct(g: GraphBuilder, x: string, weight: string, output: string): string {
  return g.contrib('FusedMatMul', [x, weight], { attributes: { transB: attr.int(1) }, outputs: [output] });
}
