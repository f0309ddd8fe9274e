/** Converts our tensors to ONNX Runtime's and back. Both share the same memory, and nothing is copied. */
import type { Tensor, TensorConstructor } from 'onnxruntime-node';
import { DTYPE_BYTES, type DType, elementCount } from '../core/dtype.ts';
import { LacunaError } from '../core/errors.ts';
import type { RuntimeTensor, TensorData } from '../core/runner.ts';

/** The JavaScript array of each element type. Types that ONNX Runtime's CPU kernels do not take are missing. */
const ARRAYS = {
  bool: Uint8Array,
  int8: Int8Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  float16: Uint16Array,
  int32: Int32Array,
  float32: Float32Array,
  int64: BigInt64Array,
  float64: Float64Array,
} as const satisfies Partial<Record<DType, new (length: number) => TensorData>>;

type RuntimeDType = keyof typeof ARRAYS;

/** Throws `unsupported` for types that ONNX Runtime cannot take, `mismatch` when data and shape disagree. */
export function toOrtTensor(Tensor: TensorConstructor, name: string, tensor: RuntimeTensor): Tensor {
  const dtype = runtimeDType(name, tensor.dtype);
  const wanted = elementCount(tensor.dims);
  if (!(tensor.data instanceof ARRAYS[dtype]) || tensor.data.length !== wanted)
    throw new LacunaError(
      'mismatch',
      `Expected ${wanted} elements in a ${ARRAYS[dtype].name} for ${name} ` +
        `(${dtype} [${tensor.dims}]) but received ${tensor.data.length} in a ${tensor.data.constructor.name}`,
    );
  return new Tensor(dtype, tensor.data, tensor.dims);
}

export function fromOrtTensor(name: string, tensor: Tensor): RuntimeTensor {
  const dtype = runtimeDType(name, tensor.type);
  return { dtype, dims: tensor.dims, data: tensor.data as TensorData };
}

/** A tensor with a dimension of 0, for example an empty cache. */
export function emptyTensor(name: string, dtype: string, dims: readonly number[]): RuntimeTensor {
  const known = runtimeDType(name, dtype);
  return { dtype: known, dims, data: new ARRAYS[known](elementCount(dims)) };
}

function runtimeDType(name: string, dtype: string): RuntimeDType {
  if (dtype in ARRAYS && dtype in DTYPE_BYTES) return dtype as RuntimeDType;
  throw new LacunaError(
    'unsupported',
    `Expected one of ${Object.keys(ARRAYS).join(', ')} for tensor ${name} but received ${dtype}`,
  );
}
