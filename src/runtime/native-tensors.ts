/** Tensors of onnxruntime-common over the native core's memory: the result of one run goes into the next uncopied. */
import type { Tensor } from 'onnxruntime-node';
import { ELEMENT_TYPES } from '../core/dtype.ts';
import { LacunaError } from '../core/errors.ts';
import type { NativeModel, NativeValue } from './native-addon.ts';

/** Element types that JavaScript has: ours but those floats that it has no numbers for, and those of half a byte. */
const { bfloat16: _, float8e4m3: _e4m3, float8e5m2: _e5m2, ...OWN_TYPES } = ELEMENT_TYPES;
const TYPES = { ...OWN_TYPES, uint4: { code: 21, array: Uint8Array }, int4: { code: 22, array: Int8Array } } as const;

type TensorType = keyof typeof TYPES;
type TensorData = InstanceType<(typeof TYPES)[TensorType]['array']>;

/** The tensor class of the onnxruntime-common that makes the sessions: a process may have several copies. */
export type TensorClass = typeof Tensor;

/** The name of ONNX's number of a type. */
export function typeName(number: number): TensorType {
  const names = Object.keys(TYPES) as readonly TensorType[];
  const name = names.find((one) => TYPES[one].code === number);
  if (name !== undefined) return name;
  throw new LacunaError('unsupported', `JavaScript has no tensors of ONNX's element type ${number}`);
}

function typeNumber(name: string): number {
  if (Object.hasOwn(TYPES, name)) return TYPES[name as TensorType].code;
  throw new LacunaError('unsupported', `The native core takes no tensors of type ${name}`);
}

/** Keys and values with spare capacity, appended to in place. Tensors of several lengths look into it. */
export interface CacheMemory {
  /** One for each cache, [rows, heads, capacity, head size]. */
  readonly values: readonly NativeValue[];
  readonly rows: number;
  readonly capacity: number;
  /** Tokens of the longest tensor. Only this tensor can be appended to. */
  length: number;
}

/** A cache as it was after `length` tokens. Nothing changes it, because new tokens are appended after them. */
export interface CacheView {
  readonly memory: CacheMemory;
  readonly index: number;
  readonly length: number;
}

/** Which value is behind which tensor. It keeps nothing alive by itself. */
export class NativeTensors {
  readonly #tensors: TensorClass;
  readonly #model: NativeModel;
  readonly #values = new WeakMap<object, NativeValue>();
  readonly #views = new WeakMap<object, CacheView>();

  constructor(tensors: TensorClass, model: NativeModel) {
    this.#tensors = tensors;
    this.#model = model;
  }

  /** A tensor whose data is the value's own memory. */
  wrap(value: NativeValue): Tensor {
    const tensor: Tensor = new this.#tensors(typeName(value.type), dataOf(value), value.dims);
    this.#values.set(tensor, value);
    return tensor;
  }

  /** A tensor that is copied only when its data is read. */
  wrapView(view: CacheView): Tensor {
    const [, heads, , width] = view.memory.values[view.index].dims;
    const dims = [view.memory.rows, heads, view.length, width];
    const read = () => this.#read(tensor, view, dims);
    // By its class the tensor is on another device, because only such tensors are read later. To its users it is on the
    // CPU.
    const tensor: Tensor = new this.#tensors({
      location: 'gpu-buffer',
      type: typeName(view.memory.values[view.index].type),
      gpuBuffer: undefined,
      dims,
      download: async () => read(),
      dispose: () => this.#views.delete(tensor),
    } as never);
    Object.defineProperties(tensor, {
      location: { get: () => 'cpu' },
      data: { get: read, configurable: true },
    });
    this.#views.set(tensor, view);
    return tensor;
  }

  /** What a tensor of `wrapView` looks at, if nobody has read it or given it other dimensions. */
  viewOf(tensor: Tensor): CacheView | undefined {
    const view = this.#views.get(tensor);
    return view !== undefined && tensor.dims[2] === view.length && tensor.dims.length === 4 ? view : undefined;
  }

  /** The value of a tensor, for a run: its own, or a copy of its data. */
  valueOf(tensor: Tensor): NativeValue {
    const view = this.viewOf(tensor);
    if (view !== undefined) return this.#compact(view, tensor.dims);
    const own = this.#values.get(tensor);
    if (own !== undefined && String(own.dims) === String(tensor.dims)) return own;
    const type = typeNumber(tensor.type);
    if (tensor.location !== 'cpu' && tensor.location !== 'cpu-pinned')
      throw new LacunaError(
        'unsupported',
        `The native core takes tensors on the CPU, not of location ${tensor.location}`,
      );
    const { data } = tensor;
    if (!ArrayBuffer.isView(data))
      throw new LacunaError('unsupported', `A ${tensor.type} tensor must hold a typed array`);
    return this.#model.createValue(type, tensor.dims, data);
  }

  #read(tensor: Tensor, view: CacheView, dims: readonly number[]): TensorData {
    const known = this.#values.get(tensor);
    if (known === undefined && !this.#views.has(tensor)) throw new Error('The tensor is disposed.');
    const value = known ?? this.#compact(view, dims);
    this.#values.set(tensor, value);
    // The owner of its data may change it, so from now on the data is its content.
    this.#views.delete(tensor);
    const data = dataOf(value);
    Object.defineProperty(tensor, 'data', { value: data, configurable: true });
    return data;
  }

  #compact({ memory, index, length }: CacheView, dims: readonly number[]): NativeValue {
    const from = memory.values[index];
    const value = this.#model.createValue(from.type, dims);
    value.copyTokens(from, length);
    return value;
  }
}

function dataOf(value: NativeValue): TensorData {
  return new TYPES[typeName(value.type)].array(value.buffer());
}
