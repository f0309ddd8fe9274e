/** Weights stored in blocks: ONNX Runtime's operators that multiply by them and look up rows in them. */
import { type Attribute, attr } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import { joinPlanes } from '../../src/core/planes.ts';
import { type BlockScheme, hasPlanes, quantize, type TensorExpr } from '../../src/core/tensor.ts';
import type { Weight } from '../weights.ts';

/** Lets kernels round activations to int8 in blocks: several times faster, and far more exact than 4-bit weights. */
const INT8_ACTIVATIONS = 4;

/** x [..., in] -> x W^T [..., out] by MatMulNBits, which takes any number of columns, but only scales of x's type. */
export function blockProduct(g: GraphBuilder, x: string, weight: Weight, scheme: BlockScheme, output: string): string {
  const { name, data, importance, rounded } = weight;
  const { codes, scales, zeroPoints } = rounded ?? quantize(data, scheme, importance);
  const { bits } = scheme;
  const attributes: Record<string, Attribute> = {
    K: attr.int(data.shape[1]),
    N: attr.int(data.shape[0]),
    bits: attr.int(hasPlanes(bits) ? 8 : bits),
    block_size: attr.int(scheme.blockSize),
    accuracy_level: attr.int(INT8_ACTIVATIONS),
  };
  const widened = g.cast(g.initializer(`${name}.scales`, scales), 'float32', g.fresh('float32'));
  const stored = g.initializer(`${name}.codes`, codes);
  const inputs = [x, hasPlanes(bits) ? joinPlanes(g, stored, bits) : stored, widened];
  if (zeroPoints !== undefined) inputs.push(g.initializer(`${name}.zero_points`, zeroPoints));
  return g.contrib('MatMulNBits', inputs, { attributes, outputs: [output] });
}

/** Whether rows of a table with this many columns can be looked up: GatherBlockQuantized needs whole blocks, and no planes. */
export function canLookUp(columns: number, { bits, blockSize }: BlockScheme): boolean {
  // The zero points of a row share no byte with the next row's.
  return !hasPlanes(bits) && columns % blockSize === 0 && (columns / blockSize) * bits >= 8;
}

/**
 * Rows of `table` [vocab, width]: ids [...] -> float [..., width]. The tensors hold the bytes that `blockProduct`
 * multiplies by, in other shapes, so a head that shares them takes no space.
 */
export function blockRows(g: GraphBuilder, ids: string, table: Weight, scheme: BlockScheme, output: string): string {
  const { name, data, importance } = table;
  const [rows, columns] = data.shape;
  const { codes, scales, zeroPoints } = quantize(data, scheme, importance);
  const shaped = (part: string, tensor: TensorExpr, width: number) =>
    g.initializer(`${name}.${part}`, { ...tensor, shape: [rows, width] });
  const blocks = columns / scheme.blockSize;
  const inputs = [
    shaped('row_codes', codes, (columns * scheme.bits) / 8),
    ids,
    g.cast(shaped('row_scales', scales, blocks), 'float32', g.fresh('float32')),
    ...(zeroPoints === undefined ? [] : [shaped('row_zero_points', zeroPoints, Math.ceil((blocks * scheme.bits) / 8))]),
  ];
  return g.contrib('GatherBlockQuantized', inputs, {
    attributes: {
      bits: attr.int(scheme.bits),
      block_size: attr.int(scheme.blockSize),
      gather_axis: attr.int(0),
      quantize_axis: attr.int(1),
    },
    outputs: [output],
  });
}
