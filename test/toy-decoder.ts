/**
 * A decoder small enough to work out by hand, with the inputs, outputs and cache of a converted model.
 *
 * logits[t, j] = table[token_t][j] + direction[j] * sum over u <= t of weight[token_u]: the table alone is a bigram
 * model; `weight` and `direction` make it depend on the whole past, which it has from its cache alone.
 */
import { attr, type Graph } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import { float32Tensor } from '../src/core/tensor.ts';

export interface Toy {
  readonly table: readonly (readonly number[])[];
  readonly weight?: readonly number[];
  readonly direction?: readonly number[];
  /** Adds `layers.0.kept` (the token's id) and `layers.0.active` (true but for token 0). */
  readonly counts?: boolean;
}

export function toyLogits({ table, weight, direction }: Toy, tokens: readonly number[]): number[][] {
  let past = 0;
  return tokens.map((token) => {
    past += weight?.[token] ?? 0;
    return table[token].map((logit, word) => logit + past * (direction?.[word] ?? 0));
  });
}

export function toyDecoder({ table, weight, direction, counts = false }: Toy): Graph {
  const vocab = table.length;
  const zeros = new Array<number>(vocab).fill(0);
  const g = new GraphBuilder('toy');
  const own = g.op('Gather', [g.initializer('weight', float32Tensor(weight ?? zeros)), 'input_ids']);
  const row = g.op('Unsqueeze', [own, g.int64(1, 3)]);
  for (const part of ['key', 'value'])
    g.op('Concat', [`past_key_values.0.${part}`, row], {
      attributes: { axis: attr.int(2) },
      outputs: [`present.0.${part}`],
    });
  const sums = g.op('CumSum', ['present.0.value', g.int64Scalar(2)]);
  const length = g.op('Shape', ['input_ids'], { attributes: { start: attr.int(1), end: attr.int(2) } });
  const current = g.op('Slice', [sums, g.op('Neg', [length]), g.int64(2 ** 40), g.int64(2)]);
  const past = g.op('Mul', [
    g.op('Squeeze', [current, g.int64(1)]),
    g.initializer('direction', float32Tensor(direction ?? zeros)),
  ]);
  const bigram = g.op('Gather', [g.initializer('table', float32Tensor(table.flat(), [vocab, vocab])), 'input_ids']);
  g.op('Add', [bigram, past], { outputs: ['logits'] });

  const tokens = ['batch_size', 'sequence_length'] as const;
  const cache = (kind: string, length: string) =>
    ['key', 'value'].map((part) => value(`${kind}.0.${part}`, 'float32', ['batch_size', 1, length, 1]));
  const inputs = [
    value('input_ids', 'int64', tokens),
    value('attention_mask', 'int64', ['batch_size', 'total_sequence_length']),
    ...cache('past_key_values', 'past_sequence_length'),
  ];
  const outputs = [value('logits', 'float32', [...tokens, vocab]), ...cache('present', 'total_sequence_length')];
  if (counts) {
    g.op('Cast', ['input_ids'], { attributes: { to: attr.int(6) }, outputs: ['layers.0.kept'] });
    g.op('Greater', ['input_ids', g.int64(0)], { outputs: ['layers.0.active'] });
    outputs.push(value('layers.0.kept', 'int32', tokens), value('layers.0.active', 'bool', tokens));
  }
  return g.graph(inputs, outputs);
}
