/** Codes of 5 and 6 bits, which are stored in planes (`hasPlanes`), as a graph makes codes of 8 bits of them. */
import { attr } from './graph.ts';
import type { GraphBuilder } from './graph-builder.ts';
import { PLANE_BLOCK_SIZE, uint8Tensor } from './tensor.ts';

/** Columns of a block that are stored beside each other. */
const HALF = PLANE_BLOCK_SIZE / 2;

/**
 * Codes [rows, bits, blocks * 4] as MatMulNBits takes codes of 8 bits, [rows, blocks, 32], whose middle is 128. What is made of
 * a model's tensors alone a runtime makes once, when it loads the model.
 */
export function joinPlanes(g: GraphBuilder, codes: string, bits: 5 | 6): string {
  const rows = (x: string, ...shape: number[]) => g.op('Reshape', [x, g.int64(...shape)]);
  const planes = (from: number, to: number) => g.op('Slice', [codes, g.int64(from), g.int64(to), g.int64(1)]);
  const constant = (...values: number[]) => g.constant(uint8Tensor(values, values.length === 1 ? [] : undefined));
  const lower = rows(planes(bits - 4, bits), 0, -1);
  const right = { attributes: { direction: attr.string('RIGHT') } };
  const halves = [g.op('BitwiseAnd', [lower, constant(15)]), g.op('BitShift', [lower, constant(4)], right)];
  let joined = g.op('Concat', halves, { attributes: { axis: attr.int(1) } });
  for (let bit = 4; bit < bits; bit++) {
    const parted = g.op('BitwiseAnd', [
      rows(planes(bit - 4, bit - 3), 0, -1, 1),
      constant(1, 2, 4, 8, 16, 32, 64, 128),
    ]);
    // The middle code, the last bit alone, becomes 128. Codes without that bit are as far below it.
    const [set, unset] = bit === bits - 1 ? [128, 128 - 2 ** bit] : [2 ** bit, 0];
    const upper = g.op('Where', [g.cast(parted, 'bool'), constant(set), constant(unset)]);
    joined = g.op('BitwiseOr', [joined, rows(upper, 0, -1)]);
  }
  const turned = g.op('Transpose', [rows(joined, 0, 2, -1, HALF)], { attributes: { perm: attr.ints([0, 2, 1, 3]) } });
  return rows(turned, 0, -1, PLANE_BLOCK_SIZE);
}
