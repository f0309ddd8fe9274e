/**
 * StatisticalTopK: about k of d entries are kept, those above theta = mean(x) + std(x) * Q(1 - k/d) of the last axis,
 * with the population's deviation and the standard normal quantile Q (Spark Transformer, 2506.06644, section 3). `soft`
 * gives max(x - theta, 0), as the paper and Gemma 3n have it; `hard` gives x where x >= theta, else 0.
 */
import type { Mode } from '../core/choice.ts';
import { attr, type Node } from '../core/graph.ts';
import type { GraphBuilder } from '../core/graph-builder.ts';
import type { Body } from './bodies.ts';
import { floatAttribute, operatorBody, reduceLast } from './body.ts';
import { callNode, type PlainCall } from './contract.ts';

/** x [..., d] -> y [..., d], kept int32 [...]: the entries over the threshold. */
export function statisticalTopKBody(mode: Mode): Body {
  return operatorBody('StatisticalTopK', `Statistical top-k, ${mode}.`, ['y', 'kept'], (g) => {
    const size = g.op('Shape', ['x'], { attributes: { start: attr.int(-1) } });
    const { y, chosen } = statisticalTopK(g, 'x', size, mode);
    g.op('Identity', [y], { outputs: ['y'] });
    count(g, g.cast(chosen(), 'float32'), 'kept');
  });
}

export interface StatisticalTopKCall extends PlainCall<'StatisticalTopK'> {
  readonly mode: Mode;
  /** Q(1 - k/d). */
  readonly quantile: number;
}

export function statisticalTopKNode({ mode, quantile, ...call }: StatisticalTopKCall): Node {
  const attributes = { mode: attr.string(mode), quantile: attr.float(quantile) };
  return callNode('StatisticalTopK', { ...call, attributes });
}

interface TopK {
  readonly y: string;
  /** Makes bool [..., d], true where an entry reaches the threshold, for bodies that read it. */
  readonly chosen: () => string;
}

/** The operator's nodes for x [..., d]; `size` is d, int64 [1], best known on loading. Needs attribute `quantile`. */
export function statisticalTopK(g: GraphBuilder, x: string, size: string, mode: Mode): TopK {
  // Around the mean, x - theta is the difference of two small numbers, and the variance does not cancel.
  const centred = g.op('Sub', [x, reduceLast(g, 'ReduceMean', x, true)]);
  // The deviation is the length of what is centred by sqrt(d).
  const factor = g.op('Div', [floatAttribute(g, 'quantile'), g.op('Sqrt', [g.cast(size, 'float32')])]);
  const cut = g.op('Mul', [reduceLast(g, 'ReduceL2', centred, true), factor]);
  const reaches = () => g.op('GreaterOrEqual', [centred, cut]);
  switch (mode) {
    case 'soft':
      return { y: g.op('Relu', [g.op('Sub', [centred, cut])]), chosen: reaches };
    case 'hard': {
      const chosen = reaches();
      return { y: g.op('Where', [chosen, x, g.float(0)]), chosen: () => chosen };
    }
  }
}

/** float [..., d] of zeros and ones -> int32 [...], exact below 2^24. */
export function count(g: GraphBuilder, chosen: string, output = g.fresh('count')): string {
  return g.cast(reduceLast(g, 'ReduceSum', chosen, false), 'int32', output);
}
