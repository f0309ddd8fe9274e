/** The output head: hidden states to one logit a token of the vocabulary. */
import type { Initializer } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import { linear } from './linear.ts';

/** x [b, s, hidden] -> logits [b, s, vocab], by `weight` [vocab, hidden], which may be the embedding itself. */
export function head(g: GraphBuilder, x: string, weight: Initializer): string {
  return linear(g, x, weight, undefined, 'logits');
}
