/** A decoder whose logits are a table's row for the last token: whatever a sampler may meet. Its cache holds nothing. */
import { BASE_OPSETS, type Graph } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import { float32Tensor } from '../src/core/tensor.ts';

/** `table` is [tokens, tokens], row-major. */
export function bigramDecoder(table: Float32Array): Graph {
  const vocab = Math.sqrt(table.length);
  const g = new GraphBuilder('bigram');
  g.op('Gather', [g.initializer('table', float32Tensor(table, [vocab, vocab])), 'input_ids'], { outputs: ['logits'] });
  const caches = ['key', 'value'].map((part) => {
    const [past, present] = [`past_key_values.0.${part}`, `present.0.${part}`];
    g.op('Identity', [past], { outputs: [present] });
    return [past, present].map((name) => value(name, 'float32', ['batch_size', 1, 'length', 1]));
  });
  const tokens = ['batch_size', 'sequence_length'] as const;
  const inputs = [
    value('input_ids', 'int64', tokens),
    value('attention_mask', 'int64', ['batch_size', 'total_sequence_length']),
    ...caches.map(([past]) => past),
  ];
  const outputs = [value('logits', 'float32', [...tokens, vocab]), ...caches.map(([, present]) => present)];
  return { ...g.body('bigram', inputs, outputs), functions: [], opsets: BASE_OPSETS, metadata: {} };
}
