/** What llama.cpp's converter does to an architecture's config and tensors, described from the result back. */
import type * as z from 'zod';
import type { StoredTensor, TensorExpr } from '../../../src/core/tensor.ts';

/** The special tokens that a GGUF file names. */
export interface SpecialTokenIds {
  readonly bos: number | undefined;
  /** The ends of a document, a turn or a message: everything at which generation stops. */
  readonly eos: readonly number[];
  readonly pad: number | undefined;
}

export interface ConfigSource<Fields> {
  readonly path: string;
  /** The keys under the architecture's name, checked. */
  readonly fields: Fields;
  /** By the names in the file. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly special: SpecialTokenIds;
}

/** The name of one kind of tensor on the Hub, and the expression that restores its original values. */
export interface TensorRule<Fields> {
  /** Matches the name in the file. Its groups fill {0}, {1}, … of `name`. */
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
