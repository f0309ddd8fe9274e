/** What an architecture is to the rest of the converters: the names it goes by, and how its checkpoints are opened. */
import type { Checkpoint } from '../src/core/checkpoint.ts';
import type { ModelPieces } from '../src/core/model.ts';

/** Precisions a checkpoint can be opened in; the graph's weights are cast to it while they are written. */
export const PRECISIONS = ['fp32'] as const;

export interface OpenOptions {
  readonly precision: (typeof PRECISIONS)[number];
}

export interface Architecture {
  /** `model_type` of config.json. */
  readonly modelType: string;
  /** The class in `architectures` of config.json. */
  readonly className: string;
  /** Checks the whole config and every tensor's shape, then hands out pieces; reads no weights. */
  readonly open: (checkpoint: Checkpoint, options: OpenOptions) => ModelPieces;
  /** config.json of what is converted, where that is not the checkpoint's own. */
  readonly hostConfig?: (config: Checkpoint['config']) => Record<string, unknown>;
}
