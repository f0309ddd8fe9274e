/** What stages know of a runtime. `src/runtime` implements it, `src/pipeline` hands it out. */
import type { DType } from './dtype.ts';
import type { Graph } from './graph.ts';

export type TensorData =
  | Float32Array
  | Float64Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Int8Array;

export interface RuntimeTensor {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly data: TensorData;
}

export interface Runner {
  /** Runs once. `fetches` names the outputs wanted (all if absent). */
  run(
    feeds: Readonly<Record<string, RuntimeTensor>>,
    fetches?: readonly string[],
  ): Promise<Record<string, RuntimeTensor>>;
  close(): Promise<void>;
}

/** A whole model in memory, as a runtime takes it. */
export interface EncodedModel {
  readonly model: Uint8Array;
  /** What the file `MEMORY_DATA` would hold; undefined when every weight is inside `model`. */
  readonly externalData: Uint8Array | undefined;
}

/** What the external data of a model in memory are called. */
export const MEMORY_DATA = 'model.onnx_data';

/** A model in memory whose external data are files in `folder`; this is how outputs are added to one on disk. */
export interface ModelBeside {
  readonly model: Uint8Array;
  readonly folder: string;
}

export type OpenGraph = (graph: Graph) => Promise<Runner>;

/** A product of two matrices, row by row: a [m, k], b [k, n] -> [m, n]. The caller supplies a fast implementation. */
export type Multiply = (
  a: Float32Array,
  b: Float32Array,
  shape: { m: number; k: number; n: number },
) => Promise<Float32Array>;
