/** What llama.cpp's converter does to an architecture's config and tensors, told from its end. */
import type * as z from 'zod';
import type { StoredTensor, TensorExpr } from '../../../src/core/tensor.ts';

/** The special tokens that a GGUF file names. */
export interface SpecialTokenIds {
  readonly bos: number | undefined;
  /** Of a document, a turn, a message: whatever generation stops at. */
  readonly eos: readonly number[];
  readonly pad: number | undefined;
}

export interface ConfigSource<Fields> {
  readonly path: string;
  /** The keys under the architecture's name, checked. */
  readonly fields: Fields;
  /** By the names of the file. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly special: SpecialTokenIds;
}

/** How one kind of tensor is called on the Hub, and what turns it back into what it was there. */
export interface TensorRule<Fields> {
  /** Matches the name in the file; its groups fill {0}, {1}, … of `name`. */
  readonly pattern: RegExp;
  readonly name: string;
  readonly undo?: (tensor: TensorExpr, fields: Fields) => TensorExpr;
}

export interface GgufArchitecture<Fields> {
  /** `general.architecture`, which is also the prefix of its keys. */
  readonly name: string;
  /** Keys under the prefix that are read or change nothing; any other is refused. */
  readonly fields: z.ZodType<Fields> & Pick<z.ZodObject, 'shape'>;
  /** config.json of the model on the Hub; may read small tensors. */
  readonly config: (source: ConfigSource<Fields>) => Promise<Readonly<Record<string, unknown>>>;
  readonly tensors: readonly TensorRule<Fields>[];
  /** Tensors that `config` has read. */
  readonly inConfig: readonly string[];
}
