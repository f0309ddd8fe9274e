/** Input `records` of storages in blocks: what a kernel reads of chosen neurons, neuron by neuron. */
import type { FfnMatrix } from '../../core/choice.ts';
import { records, type TensorExpr } from '../../core/tensor.ts';

/** Records are filled up with zeros to whole lines of a processor's cache. */
const RECORD_ALIGNMENT = 64;

/** Codes and scales of each matrix, a row a neuron. */
export type NeuronRows = Readonly<Record<FfnMatrix, readonly TensorExpr[]>>;

/** uint8 [neurons, bytes]: a neuron's codes and scales of each of these matrices, in order. */
export function neuronRecords(recorded: readonly FfnMatrix[], neurons: number, rows: NeuronRows): TensorExpr {
  return records(
    neurons,
    recorded.flatMap((matrix) => rows[matrix]),
    RECORD_ALIGNMENT,
  );
}
