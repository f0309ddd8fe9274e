/** FFN weight bytes that decoding one token reads: what sparsity saves where memory is the limit. */
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

/** The gate whole, and `density` of up's rows and down's columns. */
export function selectedFfnBytes(model: FfnShape, density: number): number {
  return Math.round((1 + 2 * density) * projectionBytes(model));
}

function projectionBytes({ hiddenSize, intermediateSize }: FfnShape): number {
  return FP32_BYTES * hiddenSize * intermediateSize;
}
