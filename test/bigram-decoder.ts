/** A decoder whose logits are a table's row for the last token: whatever a sampler may meet. Its cache holds nothing. */
import { attr, type Graph } from '../src/core/graph.ts';
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
  return g.graph(inputs, outputs);
}

/** What a graph says of its caches and its vocabulary. */
export interface Declared {
  readonly heads: number;
  readonly head: number;
  readonly vocab: number;
}

/** A decoder of two tokens whose graph declares other sizes than it has, which ONNX Runtime cannot know before it runs. */
export function declaringDecoder({ heads, head, vocab }: Declared): Graph {
  const graph = bigramDecoder(new Float32Array(4));
  const g = new GraphBuilder('declaring');
  const nodes = graph.nodes.map((node) => (node.opType === 'Gather' ? { ...node, outputs: ['gathered'] } : node));
  g.op('Greater', [g.initializer('ones', float32Tensor([1, 1])), g.initializer('zero', float32Tensor([0]))], {
    outputs: ['both'],
  });
  g.op('Compress', ['gathered', 'both'], { attributes: { axis: attr.int(2) }, outputs: ['logits'] });
  const body = g.body('declaring', [], []);
  const declared = (ports: Graph['inputs']): Graph['inputs'] =>
    ports.map((port) => {
      if (port.name === 'logits') return { ...port, shape: ['batch_size', 'sequence_length', vocab] };
      const isCache = /past_key|present/.test(port.name);
      return isCache ? { ...port, shape: ['batch_size', heads, 'length', head] } : port;
    });
  return {
    ...graph,
    inputs: declared(graph.inputs),
    outputs: declared(graph.outputs),
    initializers: [...graph.initializers, ...body.initializers],
    nodes: [...nodes, ...body.nodes],
  };
}
