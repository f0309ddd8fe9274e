/** FFN weight bytes that decoding one token reads: what sparsity saves where memory is the limit. */
import type { MeasureContract } from '../core/choice.ts';
import { DTYPE_BYTES } from '../core/dtype.ts';
import { denseFfnBytes, type FfnShape, projectionBytes } from '../core/ffn-bytes.ts';
import type { Repair } from '../core/plan.ts';
import { bytesPerWeight, precisionNamed } from '../core/precision.ts';

/** The mean over tokens of which a share skips the block. */
export function unskippedFfnBytes(model: FfnShape, skipped: number): number {
  return Math.round((1 - skipped) * denseFfnBytes(model));
}

type Reads = Pick<MeasureContract, 'rows' | 'isProduct' | 'predictor'>;

/** The matrices that the measure's choice reads row by row, the others whole, and what predicts. */
export function selectedFfnBytes(model: FfnShape, measure: Reads, density: number): number {
  const { whole, byRow } = matricesRead(measure);
  return Math.round((whole + byRow * density) * projectionBytes(model) + predictorBytes(model, measure));
}

/**
 * How many matrices are read whole, and how many row by row. What is no product tells nothing of act(gate) * up, so gate
 * and up of chosen neurons are read again, also where they were read whole.
 */
export function matricesRead({ rows, isProduct }: Reads): { readonly whole: number; readonly byRow: number } {
  return { whole: 3 - rows.length, byRow: isProduct ? rows.length : 3 };
}

/** Of the copy of gate and up that says which neurons are chosen. */
export function predictorBytes({ hiddenSize, intermediateSize }: FfnShape, { predictor }: Reads): number {
  if (predictor === undefined) return 0;
  return 2 * hiddenSize * intermediateSize * bytesPerWeight(precisionNamed(predictor));
}

/** Of what stands in a block's place, and of the gate that decides where: read for every token. */
export function repairBytes({ hiddenSize }: FfnShape, { rank, gate }: Repair): number {
  return DTYPE_BYTES.float32 * (2 * rank + (gate === undefined ? 1 : 2)) * hiddenSize;
}
