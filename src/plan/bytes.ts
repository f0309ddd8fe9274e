/** FFN weight bytes that decoding one token reads: what sparsity saves where memory is the limit. */
import type { MeasureContract } from '../core/choice.ts';
import type { ModelIdentity } from '../core/model.ts';

export type FfnShape = Pick<ModelIdentity, 'hiddenSize' | 'intermediateSize'>;

const FP32_BYTES = 4;

/** A layer's gate, up and down, each [intermediate, hidden] or its transpose. */
export function denseFfnBytes(model: FfnShape): number {
  return 3 * projectionBytes(model);
}

/** The mean over tokens of which a share skips the block. */
export function unskippedFfnBytes(model: FfnShape, skipped: number): number {
  return Math.round((1 - skipped) * denseFfnBytes(model));
}

type Reads = Pick<MeasureContract, 'rows' | 'isProduct'>;

/**
 * Of matrices that the measure's choice reads row by row `density`, and the others whole. What is no product tells
 * nothing of act(gate) * up, so gate and up of chosen neurons are read again, also where they were read whole.
 */
export function selectedFfnBytes(model: FfnShape, { rows, isProduct }: Reads, density: number): number {
  const byRow = isProduct ? rows.length : 3;
  return Math.round((3 - rows.length + byRow * density) * projectionBytes(model));
}

function projectionBytes({ hiddenSize, intermediateSize }: FfnShape): number {
  return FP32_BYTES * hiddenSize * intermediateSize;
}
