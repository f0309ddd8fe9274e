/** Bytes of an FFN's weights in float32, which plans and reports count in. */
import { DTYPE_BYTES } from './dtype.ts';
import { FFN_WEIGHTS, type ModelIdentity } from './model.ts';

export type FfnShape = Pick<ModelIdentity, 'hiddenSize' | 'intermediateSize'>;

/** A layer's gate, up and down, each [intermediate, hidden] or its transpose. */
export function denseFfnBytes(shape: FfnShape): number {
  return FFN_WEIGHTS.length * projectionBytes(shape);
}

/** Of one of them. */
export function projectionBytes({ hiddenSize, intermediateSize }: FfnShape): number {
  return DTYPE_BYTES.float32 * hiddenSize * intermediateSize;
}
