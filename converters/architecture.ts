/** What an architecture is to the rest of the converters: the names it goes by, and how its checkpoints are opened. */
import type { Checkpoint } from '../src/core/checkpoint.ts';
import type { LacunaError } from '../src/core/errors.ts';
import type { ModelPieces } from '../src/core/model.ts';
import type { Precision, PrecisionName } from '../src/core/precision.ts';
import type { ModelLayout } from './layout.ts';
import type { Importance, Rounded, StorageOptions } from './weights.ts';

export interface OpenOptions {
  /** By its name, or one of `choosePrecision` with its blocks changed; weights become it while they are written. */
  readonly precision: PrecisionName | Precision;
  /**
   * By the weight's name, `lm_head.weight` also for a head that is the embedding; makes blocks exact where it matters.
   * Names and widths that are not the model's are a `mismatch`.
   */
  readonly importance?: Importance | undefined;
  /** By the weight's name: matrices of layers that are rounded already, in blocks of the precision's scheme. */
  readonly rounded?: Rounded | undefined;
}

/** Names of tensors that are somewhere but could not be read; `all` when not even the names are known. */
export type UnreadTensors = ReadonlySet<string> | 'all';

export interface Architecture {
  /** `model_type` of config.json. */
  readonly modelType: string;
  /** The class in `architectures` of config.json. */
  readonly className: string;
  /** Checks the whole config and every tensor's shape, then hands out pieces; reads no weights. */
  readonly open: (checkpoint: Checkpoint, storage: StorageOptions) => ModelPieces;
  /** All for which `open` would refuse a checkpoint, where it stops at the first. */
  readonly problems: (checkpoint: Checkpoint, unread: UnreadTensors) => readonly LacunaError[];
  /** Of a config alone: the checkpoint need have no tensors. Errors as those of `open` about configs. */
  readonly layout: (checkpoint: Checkpoint) => ModelLayout;
  /** config.json of what is converted, where that is not the checkpoint's own. */
  readonly hostConfig?: (config: Checkpoint['config']) => Record<string, unknown>;
}
