/** Products by matrices that a plan brings along, stored as the block's own weights are: what it puts in costs what they would. */
import { attr } from '../core/graph.ts';
import type { GraphBuilder } from '../core/graph-builder.ts';
import { joinPlanes } from '../core/planes.ts';
import { type PrecisionName, precisionNamed } from '../core/precision.ts';
import { type BlockScheme, cast, float32Tensor, hasPlanes, quantize, transpose } from '../core/tensor.ts';
import { BLOCK_STORAGES, type BlockStorage, FFN_BLOCK_SIZE, type Storage } from '../ops/index.ts';

/** Lets MatMulNBits round its input to 8 bits a block, as in the block's own products. */
const INT8_ACTIVATIONS = 4;

/** A matrix [out, in] of float32 numbers. */
export interface PlanMatrix {
  readonly name: string;
  readonly data: Float32Array;
  readonly shape: readonly [number, number];
}

/** x [..., in] -> x Wᵀ [..., out], in float32, but in float16 where the graph is in that. */
export function storedProduct(g: GraphBuilder, x: string, { name, data, shape }: PlanMatrix, storage: Storage): string {
  const matrix = float32Tensor(data, shape);
  const transB = { attributes: { transB: attr.int(1) } };
  switch (storage) {
    case 'fp32':
      return g.contrib('FusedMatMul', [x, g.initializer(name, matrix)], transB);
    case 'bf16': {
      const narrow = g.initializer(name, cast(matrix, 'bfloat16'));
      return g.contrib('FusedMatMul', [x, g.cast(narrow, 'float32')], transB);
    }
    case 'fp16':
      return g.op('MatMul', [x, g.initializer(`${name}.transposed`, transpose(cast(matrix, 'float16')))]);
    case 'int8':
    case 'int6':
    case 'int5':
    case 'int4':
      return blockProduct(g, x, { name, data, shape }, schemeOf(storage));
  }
}

function blockProduct(g: GraphBuilder, x: string, { name, data, shape }: PlanMatrix, scheme: BlockScheme): string {
  const { codes, scales } = quantize(float32Tensor(data, shape), scheme);
  const { bits } = scheme;
  const stored = g.initializer(`${name}.codes`, codes);
  const widened = g.cast(g.initializer(`${name}.scales`, scales), 'float32');
  return g.contrib('MatMulNBits', [x, hasPlanes(bits) ? joinPlanes(g, stored, bits) : stored, widened], {
    attributes: {
      K: attr.int(shape[1]),
      N: attr.int(shape[0]),
      bits: attr.int(hasPlanes(bits) ? 8 : bits),
      block_size: attr.int(FFN_BLOCK_SIZE),
      accuracy_level: attr.int(INT8_ACTIVATIONS),
    },
  });
}

/** How the precision of that name stores matrices. */
function schemeOf(storage: BlockStorage & PrecisionName): BlockScheme {
  const { linear } = precisionNamed(storage);
  if (linear.kind !== 'blocks') throw new RangeError(`${storage} has no blocks, wanted one of ${BLOCK_STORAGES}`);
  const { kind: _, ...scheme } = linear;
  return scheme;
}
