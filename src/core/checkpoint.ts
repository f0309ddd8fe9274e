/** A checkpoint as read from disk: configuration and lazy tensors; nothing of any architecture. */
import type { FileTensor } from './tensor.ts';

export interface Checkpoint {
  readonly path: string;
  /** config.json, unread: the converter of its architecture checks it. */
  readonly config: Readonly<Record<string, unknown>>;
  /** generation_config.json, when there. */
  readonly generationConfig: Readonly<Record<string, unknown>> | undefined;
  readonly tensors: ReadonlyMap<string, FileTensor>;
  /** Whether tokenizer.json is there; converting goes on without it, running does not. */
  readonly hasTokenizer: boolean;
  /** sha256 over config.json and each tensor's header and a sample of its bytes: names the model in statistics and plans. */
  readonly fingerprint: string;
}
