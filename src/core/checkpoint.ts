/** A checkpoint as read from disk: configuration and lazy tensors; nothing of any architecture. */
import { elementCount } from './dtype.ts';
import type { TensorExpr } from './tensor.ts';

/** A small file that goes with weights: as it lies on disk, or as text that is made, when asked for, of another format. */
export type SmallFile = { readonly path: string } | { readonly text: () => string };

/** The small files of a model, by the names that a Hugging Face folder gives them: config.json, tokenizer.json, … */
export interface ModelFiles {
  /** What errors call the model. */
  readonly path: string;
  readonly files: ReadonlyMap<string, SmallFile>;
}

export interface Checkpoint extends ModelFiles {
  /** config.json, unread: the converter of its architecture checks it. */
  readonly config: Readonly<Record<string, unknown>>;
  /** generation_config.json, when there. */
  readonly generationConfig: Readonly<Record<string, unknown>> | undefined;
  readonly tensors: ReadonlyMap<string, TensorExpr>;
  /** sha256 over config.json and each tensor's header and a sample of its bytes: names the model in statistics and plans. */
  readonly fingerprint: string;
}

/** Weights that a checkpoint holds, each tensor counted once. */
export function parametersOf({ tensors }: Checkpoint): number {
  return [...tensors.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
}

/** Converting goes on without a tokenizer, running does not. */
export function hasTokenizer({ files }: ModelFiles): boolean {
  return files.has('tokenizer.json');
}
