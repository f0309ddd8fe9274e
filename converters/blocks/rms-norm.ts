/** RMSNorm (Zhang & Sennrich 2019): y = x / sqrt(mean(x^2) + epsilon) * weight, over the last axis. */
import { attr, type Initializer } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import type { DecoderParts } from './parts.ts';

/** Normalises x [..., hidden] by `weight` [hidden], in float32; `output` names the result. */
export function rmsNorm(g: GraphBuilder, x: string, weight: Initializer, epsilon: number, output?: string): string {
  return g.op('SimplifiedLayerNormalization', [x, g.initializer(weight.name, weight.data)], {
    attributes: { axis: attr.int(-1), epsilon: attr.float(epsilon), stash_type: attr.int(1) },
    outputs: [output ?? g.fresh('norm')],
  });
}

/** Epsilon of a norm that reads the scaled residual stream, so that y is the same as without the scale. */
export function streamEpsilon({ config, streamScale }: DecoderParts): number {
  return config.rmsNormEps * streamScale ** 2;
}
