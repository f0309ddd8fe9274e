/**
 * The protobuf codec of ONNX. Only this file knows onnx-proto and protobufjs. The build bundles it separately, because
 * an installed package would get a protobufjs that onnx-proto does not run on.
 */
import type { onnx } from 'onnx-proto';
import onnxProto from 'onnx-proto';
import protobuf from 'protobufjs/minimal.js';
import type * as graph from '../../src/core/graph.ts';

export type Attribute = onnx.IAttributeProto;
export type Function = onnx.IFunctionProto;
export type Graph = onnx.IGraphProto;
export type Model = onnx.IModelProto;
export type Node = onnx.INodeProto;
export type Tensor = onnx.ITensorProto;
export type ValueInfo = onnx.IValueInfoProto;

export const { AttributeType } = onnxProto.onnx.AttributeProto;
export const EXTERNAL_LOCATION = onnxProto.onnx.TensorProto.DataLocation.EXTERNAL;

/** Protobuf's own limit on one message: readers count its bytes in a signed 32-bit integer. */
export const MAX_MODEL_BYTES = 2 ** 31 - 1;

export function attributeType(kind: graph.Attribute['kind']): number {
  return AttributeType[kind.toUpperCase() as keyof typeof AttributeType];
}

/** An int64 as it is decoded. */
export type Int64 = number | { toString(): string };

export function encode(model: Model): Uint8Array {
  return onnxProto.onnx.ModelProto.encode(model).finish();
}

/** Throws what protobufjs throws for bytes that are not a ModelProto. */
export function decode(bytes: Uint8Array): Model {
  return onnxProto.onnx.ModelProto.decode(bytes);
}

const FUNCTIONS_FIELD_OF_MODEL = 25;
/** Fields of FunctionProto that are newer than the schema of onnx-proto (ONNX 1.10), which would drop them. */
const LATER_FUNCTION_FIELDS: Readonly<Record<number, string>> = { 11: 'attribute_proto', 13: 'overload' };

/** The first field of a local function that decoding would lose, and with it the function's meaning; usually none. */
export function findLostFunctionField(bytes: Uint8Array): string | undefined {
  const reader = protobuf.Reader.create(bytes);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag >>> 3 !== FUNCTIONS_FIELD_OF_MODEL) {
      reader.skipType(tag & 7);
      continue;
    }
    const lost = findLaterField(protobuf.Reader.create(reader.bytes()));
    if (lost !== undefined) return lost;
  }
  return undefined;
}

function findLaterField(functionReader: protobuf.Reader): string | undefined {
  while (functionReader.pos < functionReader.len) {
    const tag = functionReader.uint32();
    const lost = LATER_FUNCTION_FIELDS[tag >>> 3];
    if (lost !== undefined) return lost;
    functionReader.skipType(tag & 7);
  }
  return undefined;
}
