/** ONNX's numbers for attribute types and places of data, as onnx.proto assigns them. */

/** AttributeProto.AttributeType of each kind of attribute that a `Graph` can hold. */
export const ATTRIBUTE_TYPES = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
} as const;

/** Names of the other attribute types, for refusals. */
export const OTHER_ATTRIBUTE_TYPES: Readonly<Record<number, string>> = {
  9: 'TENSORS',
  10: 'GRAPHS',
  11: 'SPARSE_TENSOR',
  12: 'SPARSE_TENSORS',
  13: 'TYPE_PROTO',
  14: 'TYPE_PROTOS',
};

/** TensorProto.DataLocation. */
export const EXTERNAL_LOCATION = 1;
