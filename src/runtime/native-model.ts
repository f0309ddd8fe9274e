/** Any model in the native core, as native/binding/node_model.cc gives it to JavaScript. */

/** A tensor in ONNX Runtime's memory. */
export interface NativeValue {
  /** ONNX's number of its element type. */
  readonly type: number;
  readonly dims: number[];
  /** The tensor's own memory, which lives as long as somebody has either; to be asked for once. */
  buffer(): ArrayBuffer;
  /** Of two caches [rows, heads, tokens, head size]: takes over the first `tokens` of another. */
  copyTokens(from: NativeValue, tokens: number): void;
}

export interface NativePort {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type: number;
  readonly shape: (number | string)[];
}

/** One call at a time. */
export interface NativeModel {
  readonly inputs: NativePort[];
  readonly outputs: NativePort[];
  /** With a copy of `data`, or zeros. */
  createValue(type: number, dims: readonly number[], data?: ArrayBufferView): NativeValue;
  /** The outputs' values: those that were given, which are written to, and new ones for null. */
  run(
    inputs: readonly { readonly name: string; readonly value: NativeValue }[],
    outputs: readonly { readonly name: string; readonly value: NativeValue | null }[],
  ): Promise<NativeValue[]>;
  dispose(): Promise<void>;
}

/** `path` or `bytes`; the rest as in ONNX Runtime's session options, its own choice when absent. */
export interface NativeModelOptions {
  readonly runtime: string;
  readonly path?: string;
  readonly bytes?: Uint8Array;
  readonly externalData?: readonly (readonly [name: string, data: Uint8Array])[];
  readonly operators?: string;
  readonly intraThreads?: number;
  readonly interThreads?: number;
  /** GraphOptimizationLevel of ONNX Runtime's C interface. */
  readonly optimisation?: number;
  readonly isParallel?: boolean;
  readonly logSeverity?: number;
  readonly freeDimensions?: readonly (readonly [name: string, size: number])[];
  readonly config?: readonly (readonly [key: string, value: string])[];
}
