/** A checkpoint as read from disk: configuration and lazy tensors. It knows nothing of any architecture. */
import { elementCount } from './dtype.ts';
import type { TensorExpr } from './tensor.ts';

/** A small file that goes with the weights: a file on disk, or text that is made on request from another format. */
export type SmallFile = { readonly path: string } | { readonly text: () => string };

/** The small files of a model, by the names that a Hugging Face folder gives them: config.json, tokenizer.json, … */
export interface ModelFiles {
  /** What error messages call the model. */
  readonly path: string;
  readonly files: ReadonlyMap<string, SmallFile>;
}

export interface Checkpoint extends ModelFiles {
  /** config.json, unchecked: the converter of its architecture checks it. */
  readonly config: Readonly<Record<string, unknown>>;
  /** generation_config.json, if it exists. */
  readonly generationConfig: Readonly<Record<string, unknown>> | undefined;
  readonly tensors: ReadonlyMap<string, TensorExpr>;
  /** sha256 over config.json, each tensor's header and a sample of its bytes. Statistics and plans name it. */
  readonly fingerprint: string;
}

/** The weights of a checkpoint, each tensor once. */
export function parametersOf({ tensors }: Checkpoint): number {
  return [...tensors.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
}

/** A model can be converted without a tokenizer, but not run. */
export function hasTokenizer({ files }: ModelFiles): boolean {
  return files.has('tokenizer.json');
}
