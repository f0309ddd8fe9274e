/** Converts our tensors to ONNX Runtime's and back. Both share the same memory, and nothing is copied. */
import type { Tensor, TensorConstructor } from 'onnxruntime-node';
import { type DType, ELEMENT_TYPES, elementCount } from '../core/dtype.ts';
import { LacunaError } from '../core/errors.ts';
import type { RuntimeTensor, TensorData } from '../core/runner.ts';

/** Types that ONNX Runtime's CPU kernels take. */
const RUNTIME_DTYPES = [
  'bool',
  'int8',
  'uint8',
  'uint16',
  'float16',
  'int32',
  'float32',
  'int64',
  'float64',
] as const satisfies readonly DType[];

type RuntimeDType = (typeof RUNTIME_DTYPES)[number];

/** Throws `unsupported` for types that ONNX Runtime cannot take, `mismatch` when data and shape disagree. */
export function toOrtTensor(Tensor: TensorConstructor, name: string, tensor: RuntimeTensor): Tensor {
  const dtype = runtimeDType(name, tensor.dtype);
  const { array } = ELEMENT_TYPES[dtype];
  const wanted = elementCount(tensor.dims);
  if (!(tensor.data instanceof array) || tensor.data.length !== wanted)
    throw new LacunaError(
      'mismatch',
      `Expected ${wanted} elements in a ${array.name} for ${name} ` +
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
  return { dtype: known, dims, data: new ELEMENT_TYPES[known].array(elementCount(dims)) };
}

function runtimeDType(name: string, dtype: string): RuntimeDType {
  const known = RUNTIME_DTYPES.find((one) => one === dtype);
  if (known !== undefined) return known;
  throw new LacunaError(
    'unsupported',
    `Expected one of ${RUNTIME_DTYPES.join(', ')} for tensor ${name} but received ${dtype}`,
  );
}
