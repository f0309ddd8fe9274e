/** An architecture as the rest of the converters sees it: its names, and how its checkpoints are opened. */
import type { Checkpoint } from '../src/core/checkpoint.ts';
import type { LacunaError } from '../src/core/errors.ts';
import type { ModelPieces } from '../src/core/model.ts';
import type { Precision, PrecisionName } from '../src/core/precision.ts';
import type { ModelLayout } from './layout.ts';
import type { StorageOptions } from './weights.ts';

/** How weights are stored. They are converted while they are written. */
export interface OpenOptions extends Omit<StorageOptions, 'precision'> {
  /** Its name, or one from `choosePrecision` with changed blocks. */
  readonly precision: PrecisionName | Precision;
}

/** Names of tensors that exist but could not be read; `all` if not even the names are known. */
export type UnreadTensors = ReadonlySet<string> | 'all';

export interface Architecture {
  readonly modelType: string;
  /** The class in `architectures` of config.json. */
  readonly className: string;
  /** Checks the whole config and every tensor's shape, then hands out pieces; reads no weights. */
  readonly open: (checkpoint: Checkpoint, storage: StorageOptions) => ModelPieces;
  /** All reasons for which `open` would refuse a checkpoint. `open` stops at the first. */
  readonly problems: (checkpoint: Checkpoint, unread: UnreadTensors) => readonly LacunaError[];
  /** From a config alone: the checkpoint need have no tensors. Throws as `open` does for configs. */
  readonly layout: (checkpoint: Checkpoint) => ModelLayout;
  /** config.json of the converted model, if it is not the checkpoint's own. */
  readonly hostConfig?: (config: Checkpoint['config']) => Record<string, unknown>;
}
