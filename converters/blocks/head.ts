/** The output head: hidden states to one logit a token of the vocabulary. */
import { attr } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import type { Weight } from '../weights.ts';
import { product } from './product.ts';

/** x [b, s, hidden] -> logits float32 [b, s, vocab], by `weight` [vocab, hidden], which may be the embedding itself. */
export function head(g: GraphBuilder, x: string, weight: Weight): string {
  const { floats, vocabulary } = weight.precision;
  if (floats === 'float32') return product(g, x, weight, vocabulary, 'logits');
  // Hosts sample from float32.
  const narrow = product(g, x, weight, vocabulary, g.fresh('narrow_logits'));
  return g.op('Cast', [narrow], { attributes: { to: attr.int(FLOAT) }, outputs: ['logits'] });
}

/** TensorProto.DataType.FLOAT. */
const FLOAT = 1;
