/** The output head: hidden states to logits, one for each token of the vocabulary. */
import { attr } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import type { Weight } from '../weights.ts';
import { product } from './product.ts';

/** x [b, s, hidden] -> logits float32 [b, s, vocab]. With a `softcap` c (Gemma 2, section 2) c tanh(logit / c). */
export function head(g: GraphBuilder, x: string, weight: Weight, softcap?: number): string {
  if (softcap === undefined) return float32Product(g, x, weight, 'logits');
  const cap = g.op('Constant', [], { attributes: { value_float: attr.float(softcap) } });
  const bent = g.op('Tanh', [g.op('Div', [float32Product(g, x, weight, g.fresh('linear')), cap])]);
  return g.op('Mul', [bent, cap], { outputs: ['logits'] });
}

/** Always float32, because hosts sample from it. */
function float32Product(g: GraphBuilder, x: string, weight: Weight, output: string): string {
  const { floats, vocabulary } = weight.precision;
  if (floats === 'float32') return product(g, x, weight, vocabulary, output);
  return g.cast(product(g, x, weight, vocabulary, g.fresh('narrow_logits')), 'float32', output);
}
