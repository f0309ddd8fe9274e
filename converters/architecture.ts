/** What an architecture is to the rest of the converters: the names it goes by, and how its checkpoints are opened. */
import type { Checkpoint } from '../src/core/checkpoint.ts';
import type { ModelPieces } from '../src/core/model.ts';
import type { Precision, PrecisionName } from '../src/core/precision.ts';
import type { TensorExpr } from '../src/core/tensor.ts';
import type { StorageOptions } from './weights.ts';

export interface OpenOptions {
  /** By its name, or one of `choosePrecision` with its blocks changed; weights become it while they are written. */
  readonly precision: PrecisionName | Precision;
  /** By the weight's name: the mean square of each of its inputs, float [columns]; makes blocks exact where it matters. */
  readonly importance?: ReadonlyMap<string, TensorExpr> | undefined;
}

export interface Architecture {
  /** `model_type` of config.json. */
  readonly modelType: string;
  /** The class in `architectures` of config.json. */
  readonly className: string;
  /** Checks the whole config and every tensor's shape, then hands out pieces; reads no weights. */
  readonly open: (checkpoint: Checkpoint, storage: StorageOptions) => ModelPieces;
  /** config.json of what is converted, where that is not the checkpoint's own. */
  readonly hostConfig?: (config: Checkpoint['config']) => Record<string, unknown>;
}
