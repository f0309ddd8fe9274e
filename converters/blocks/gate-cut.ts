/** Gates of which training left the largest: the statistical top-k of Spark Transformer (2506.06644, section 3) and Gemma 3n. */
import { attr } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import { normalQuantile } from '../../src/core/normal-quantile.ts';
import type { Floats } from './parts.ts';

const { fround } = Math;

/**
 * The deviations by which a gate has to exceed the mean for `sparsity` of them to be cut, 0 < sparsity < 1; infinite where
 * float32 cannot tell the share from 1. PyTorch computes sqrt(2) erfinv(2 sparsity - 1) in float32, which rounds the share.
 */
export function trainedQuantile(sparsity: number): number {
  const share = (fround(2 * fround(sparsity) - 1) + 1) / 2;
  return share === 0 || share === 1 ? (share - 0.5) * Infinity : fround(normalQuantile(share));
}

/** max(gate - (mean + deviation * quantile), 0) over the last axis, with the population's deviation, in float32. */
export function cutGates(g: GraphBuilder, gate: string, quantile: number, floats: Floats): string {
  if (floats === 'float16') return g.cast(cutGates(g, g.cast(gate, 'float32'), quantile, 'float32'), 'float16');
  const mean = (x: string) => g.op('ReduceMean', [x, g.int64(-1)]);
  const middle = mean(gate);
  const centred = g.op('Sub', [gate, middle]);
  const deviation = g.op('Sqrt', [mean(g.op('Mul', [centred, centred]))]);
  const factor = g.op('Constant', [], { attributes: { value_float: attr.float(quantile) } });
  return g.op('Relu', [g.op('Sub', [gate, g.op('Add', [middle, g.op('Mul', [deviation, factor])])])]);
}
