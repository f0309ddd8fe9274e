/** The first piece of a decoder: token embeddings, and what the attention mask says of positions. */
import { attr } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import { hiddenName } from '../../src/core/model.ts';
import { cast, float32Tensor, int64Tensor } from '../../src/core/tensor.ts';
import type { Weight } from '../weights.ts';
import { blockRows, canLookUp } from './block-weights.ts';

/**
 * From input_ids [b, s], attention_mask [b, total] and `table` [vocab, hidden]:
 * - `hidden.0` float [b, s, hidden], times `scale` if given; a table without whole blocks in each row stays float
 * - `seqlens_k` int32 [b]: index of each row's last true position, sum(mask) - 1
 * - `total_sequence_length` int32 []: columns of the mask, past and padding included
 * - `position_ids` int64 [b, s]: true tokens before each of the last s columns; padding repeats the position before it
 */
export function embedding(g: GraphBuilder, table: Weight, scale?: number): void {
  lookUpScaled(g, 'input_ids', table, scale, hiddenName(0));
  rowPositions(g);
}

/** Rows `ids` of a table, times `scale` if given. */
export function lookUpScaled(g: GraphBuilder, ids: string, table: Weight, scale: number | undefined, output: string) {
  if (scale === undefined) return lookUp(g, ids, table, output);
  // The head may be the same table without the scale, so the scale is not in the weights.
  const factor = g.constant(cast(float32Tensor([scale], []), table.precision.floats));
  return g.op('Mul', [lookUp(g, ids, table, g.fresh('embedded')), factor], { outputs: [output] });
}

/** The last three of the values that `embedding` makes. */
export function rowPositions(g: GraphBuilder): void {
  const rows = g.op('ReduceSum', ['attention_mask', g.int64(1)], { attributes: { keepdims: attr.int(0) } });
  g.cast(g.op('Sub', [rows, g.int64Scalar(1)]), 'int32', 'seqlens_k');
  const columns = g.op('Gather', [g.op('Shape', ['attention_mask']), g.int64Scalar(1)]);
  g.cast(columns, 'int32', 'total_sequence_length');
  positionIds(g);
}

function lookUp(g: GraphBuilder, ids: string, table: Weight, output: string): string {
  const storage = table.precision.vocabulary;
  if (storage.kind === 'blocks' && canLookUp(table.data.shape[1], storage))
    return blockRows(g, ids, table, storage, output);
  if (storage.kind !== 'widened') return rows(g, ids, table, output);
  // Rows are looked up as they are stored. A widened copy of the whole table would serve only a few of them.
  const narrow = rows(g, ids, { ...table, data: cast(table.data, storage.dtype) }, g.fresh('narrow'));
  return g.cast(narrow, 'float32', output);
}

function rows(g: GraphBuilder, ids: string, { name, data }: Weight, output: string): string {
  return g.op('Gather', [g.initializer(name, data), ids], { outputs: [output] });
}

function positionIds(g: GraphBuilder): void {
  const counted = g.op('CumSum', ['attention_mask', g.int64Scalar(1)]);
  const positions = g.op('Max', [g.op('Sub', [counted, g.int64Scalar(1)]), g.int64Scalar(0)]);
  const newTokens = g.op('Shape', ['input_ids'], { attributes: { start: attr.int(1), end: attr.int(2) } });
  const end = g.constant(int64Tensor([2n ** 63n - 1n]));
  g.op('Slice', [positions, g.op('Neg', [newTokens]), end, g.int64(1)], { outputs: ['position_ids'] });
}
