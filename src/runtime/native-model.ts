/** Any model in the native core, as native/binding/node_model.cc exposes it to JavaScript. */

/** A tensor in ONNX Runtime's memory. */
export interface NativeValue {
  /** ONNX's number of its element type. */
  readonly type: number;
  readonly dims: number[];
  /** The tensor's own memory. It lives as long as the tensor or the memory is referenced. Ask for it once. */
  buffer(): ArrayBuffer;
  /** For two caches [rows, heads, tokens, head size]: copies the first `tokens` of another. */
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
  /** The outputs' values: the given ones are written to, and null gets a new one. */
  run(
    inputs: readonly { readonly name: string; readonly value: NativeValue }[],
    outputs: readonly { readonly name: string; readonly value: NativeValue | null }[],
  ): Promise<NativeValue[]>;
  dispose(): Promise<void>;
}

/** `path` or `bytes`. The rest is as in ONNX Runtime's session options, with its defaults. */
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
