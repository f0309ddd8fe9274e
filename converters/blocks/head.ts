/** The output head: hidden states to one logit a token of the vocabulary. */
import type { Initializer } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import { linear } from './linear.ts';

/**
 * x [b, s, hidden] -> logits [b, s, vocab], by `weight` [vocab, hidden], which may be the embedding itself. With a
 * `softcap` c (Gemma 2, section 2) each becomes c tanh(logit / c).
 */
export function head(g: GraphBuilder, x: string, weight: Initializer, softcap?: number): string {
  if (softcap === undefined) return linear(g, x, weight, undefined, 'logits');
  const cap = g.float(softcap);
  const bent = g.op('Tanh', [g.op('Div', [linear(g, x, weight, undefined), cap])]);
  return g.op('Mul', [bent, cap], { outputs: ['logits'] });
}
