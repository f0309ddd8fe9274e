/** The cast to float32, which every host computes in. */
import { ELEMENT_TYPES } from '../../src/core/dtype.ts';
import { attr } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';

/** x -> the same in float32, called `output`. A runtime casts a weight once, when it loads it. */
export function toFloat32(g: GraphBuilder, x: string, output = g.fresh('float32')): string {
  return g.op('Cast', [x], { attributes: { to: attr.int(ELEMENT_TYPES.float32.code) }, outputs: [output] });
}
