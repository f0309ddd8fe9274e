/** A model of one node as a list of its parts. Cases change the parts and then encode them. */
import * as proto from '../../formats/onnx/proto.ts';
import { type DType, ELEMENT_TYPES } from '../../src/core/dtype.ts';

/** The element types that our operators take or may get. */
export const TYPES = [
  'float32',
  'uint8',
  'int8',
  'int32',
  'int64',
  'bool',
  'float16',
  'float64',
  'bfloat16',
] as const satisfies readonly DType[];

export type TypeName = (typeof TYPES)[number];

export interface Tensor {
  readonly type: TypeName;
  readonly dims: readonly number[];
  /** As many bytes as the dimensions say, unless a case changes that. */
  readonly bytes: Uint8Array;
}

export type AttributeValue =
  | { readonly kind: 'int'; readonly value: bigint }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'ints'; readonly value: readonly bigint[] };

export interface Input {
  readonly name: string;
  /** Missing: the node has an empty name in its place. */
  readonly tensor?: Tensor;
  /** An initializer of the model, or a fed value. */
  readonly isConstant: boolean;
}

export interface Output {
  /** Empty if it is not wanted. */
  readonly name: string;
  readonly type: TypeName;
}

export interface HostileNode {
  readonly opType: string;
  readonly domain: string;
  readonly attributes: Readonly<Record<string, AttributeValue>>;
  readonly inputs: readonly Input[];
  readonly outputs: readonly Output[];
}

/** The bytes of a model of that node. Shapes of fed values are open, so that only the operator checks them. */
export function encodeNode({ opType, domain, attributes, inputs, outputs }: HostileNode): Uint8Array {
  const given = distinct(inputs.filter(({ tensor }) => tensor !== undefined));
  return proto.encode({
    irVersion: 10,
    opsetImport: ['', 'lacuna', 'com.microsoft'].map((name) => ({ domain: name, version: name === '' ? 21 : 1 })),
    graph: {
      name: 'hostile',
      node: [
        {
          name: 'node',
          opType,
          domain,
          input: inputs.map(({ name, tensor }) => (tensor === undefined ? '' : name)),
          output: outputs.map(({ name }) => name),
          attribute: Object.entries(attributes).map(([name, attribute]) => attributeProto(name, attribute)),
        },
      ],
      input: given.filter(({ isConstant }) => !isConstant).map(({ name, tensor }) => port(name, tensor?.type)),
      initializer: given
        .filter(({ isConstant }) => isConstant)
        .map(({ name, tensor }) => ({
          name,
          dataType: ELEMENT_TYPES[tensor?.type ?? 'float32'].code,
          dims: tensor?.dims.map((size) => long(BigInt(size))),
          rawData: tensor?.bytes,
        })),
      output: distinct(outputs.filter(({ name }) => name !== '')).map(({ name, type }) => port(name, type)),
    },
  });
}

/** By name: two inputs of a node may be one value. */
function distinct<Named extends { readonly name: string }>(values: readonly Named[]): readonly Named[] {
  return [...new Map(values.map((value) => [value.name, value])).values()];
}

/** Of any shape. */
function port(name: string, type: TypeName = 'float32') {
  return { name, type: { tensorType: { elemType: ELEMENT_TYPES[type].code } } };
}

function attributeProto(name: string, attribute: AttributeValue) {
  switch (attribute.kind) {
    case 'int':
      return { name, type: 2, i: long(attribute.value) };
    case 'float':
      return { name, type: 1, f: attribute.value };
    case 'string':
      return { name, type: 3, s: new TextEncoder().encode(attribute.value) };
    case 'ints':
      return { name, type: 7, ints: attribute.value.map(long) };
  }
}

/** An int64 of any size, as protobufjs takes it. */
function long(value: bigint): never {
  const bits = BigInt.asUintN(64, value);
  return { low: Number(bits & 0xffffffffn) | 0, high: Number(bits >> 32n) | 0, unsigned: false } as never;
}
