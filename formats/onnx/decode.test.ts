import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DTYPE_BYTES, type DType } from '../../src/core/dtype.ts';
import { LacunaError } from '../../src/core/errors.ts';
import {
  type Attribute,
  type Body,
  type Dim,
  type Graph,
  type Initializer,
  LACUNA_DOMAIN,
  type Node,
  type OpFunction,
  type ValueInfo,
} from '../../src/core/graph.ts';
import type { TensorExpr } from '../../src/core/tensor.ts';
import { decodeModel } from './decode.ts';
import { encodeModel } from './encode.ts';
import * as proto from './proto.ts';

const decode = (bytes: Uint8Array): Graph =>
  decodeModel({ path: 'some/model.onnx', folder: 'some', bytes, externals: [] });

const decodeProto = (model: proto.Model): Graph => decode(proto.encode(model));

/** Whole code points: half a surrogate pair has no UTF-8. */
const text = fc.string({ unit: 'binary', maxLength: 5 });
const names = fc.array(text, { maxLength: 3 });
const DOMAINS = ['', 'com.microsoft', LACUNA_DOMAIN] as const;
const opsets = fc
  .tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }))
  .map((versions): Record<string, number> => Object.fromEntries(DOMAINS.map((domain, i) => [domain, versions[i]])));
const dtype = fc.constantFrom(...(Object.keys(DTYPE_BYTES) as DType[]));

/** At most 27 elements of 8 bytes: below a kilobyte, so in the model and read back as bytes. */
const tensor: fc.Arbitrary<TensorExpr> = fc
  .tuple(dtype, fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 3 }))
  .chain(([type, shape]) => {
    const length = shape.reduce((a, b) => a * b, DTYPE_BYTES[type]);
    return fc
      .uint8Array({ minLength: length, maxLength: length })
      .map((bytes): TensorExpr => ({ kind: 'bytes', dtype: type, shape, bytes }));
  });

const valueInfo: fc.Arbitrary<ValueInfo> = fc.record({
  name: text,
  dtype,
  shape: fc.array(fc.oneof(fc.maxSafeNat(), text) as fc.Arbitrary<Dim>, { maxLength: 3 }),
});

const scalar = {
  int: fc.maxSafeInteger(),
  float: fc.float(),
  string: text,
};

const { body } = fc.letrec<{ attribute: Attribute; node: Node; body: Body }>((tie) => ({
  attribute: fc.oneof(
    { maxDepth: 3 },
    scalar.int.map((value): Attribute => ({ kind: 'int', value })),
    scalar.float.map((value): Attribute => ({ kind: 'float', value })),
    scalar.string.map((value): Attribute => ({ kind: 'string', value })),
    fc.array(scalar.int, { maxLength: 3 }).map((value): Attribute => ({ kind: 'ints', value })),
    fc.array(scalar.float, { maxLength: 3 }).map((value): Attribute => ({ kind: 'floats', value })),
    fc.array(text, { maxLength: 3 }).map((value): Attribute => ({ kind: 'strings', value })),
    tensor.map((value): Attribute => ({ kind: 'tensor', value })),
    fc
      .tuple(
        fc.string({ minLength: 1, maxLength: 4 }),
        fc.constantFrom('int' as const, 'float' as const, 'string' as const, 'ints' as const, 'floats' as const),
      )
      .map(([name, type]): Attribute => ({ kind: 'reference', name, type })),
    tie('body').map((value): Attribute => ({ kind: 'graph', value })),
  ),
  node: fc.record({
    name: text,
    opType: text,
    domain: fc.constantFrom(...DOMAINS),
    inputs: names,
    outputs: names,
    attributes: fc.dictionary(text, tie('attribute'), { maxKeys: 3, noNullPrototype: true }),
  }),
  body: fc.record({
    name: text,
    inputs: fc.array(valueInfo, { maxLength: 2 }),
    outputs: fc.array(valueInfo, { maxLength: 2 }),
    initializers: fc.uniqueArray(
      fc.record<Initializer>({ name: fc.string({ minLength: 1, maxLength: 3 }), data: tensor }),
      { maxLength: 3, selector: ({ name }) => name },
    ),
    nodes: fc.array(tie('node'), { maxLength: 3 }),
  }),
}));

const opFunction: fc.Arbitrary<OpFunction> = fc
  .record({ body, domain: fc.constantFrom(...DOMAINS), name: text, attributes: names, opsets, doc: text })
  .map(({ body: { nodes }, doc, ...rest }) => ({
    ...rest,
    nodes,
    inputs: ['x'],
    outputs: ['y'],
    ...(doc === '' ? {} : { doc }),
  }));

const graph: fc.Arbitrary<Graph> = fc
  .record({
    body,
    functions: fc.array(opFunction, { maxLength: 2 }),
    opsets,
    metadata: fc.dictionary(text, text, { maxKeys: 3, noNullPrototype: true }),
  })
  .map(({ body: main, ...rest }) => ({ ...main, ...rest, ...innerValues(main) }));

/** What is known of the values that our operators make. */
function innerValues({ nodes }: Body): Pick<Graph, 'valueInfo'> {
  const ours = nodes.flatMap(({ domain, outputs }) => (domain === LACUNA_DOMAIN ? outputs : []));
  const known = [...new Set(ours)].map((name) => ({ name, dtype: 'float32' as const, shape: ['batch_size', 3, ''] }));
  return known.length === 0 ? {} : { valueInfo: known };
}

test('a graph written and read is the same graph', async () => {
  await fc.assert(
    fc.asyncProperty(graph, async (original) => {
      const { model, externalData } = await encodeModel(original);
      expect(externalData).toBeUndefined();
      expect(decode(model)).toEqual(original);
    }),
    { seed: 1, numRuns: 150 },
  );
});

test('bytes that are no model are refused, never a crash', async () => {
  const outcome = (bytes: Uint8Array) => {
    try {
      decode(bytes);
      return 'graph';
    } catch (error) {
      return error instanceof LacunaError ? error.code : error;
    }
  };
  const allowed = ['graph', 'bad-file', 'unsupported'];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      expect(allowed).toContain(outcome(bytes));
    }),
    { seed: 2, numRuns: 500 },
  );
  const seen = new Set<unknown>();
  await fc.assert(
    fc.asyncProperty(graph, fc.nat(), fc.nat({ max: 255 }), fc.nat(), async (original, at, byte, cut) => {
      const { model } = await encodeModel(original);
      const broken = model.slice(0, model.length - (cut % 3));
      broken[at % broken.length] ^= byte;
      seen.add(outcome(broken));
    }),
    { seed: 3, numRuns: 300 },
  );
  expect(allowed).toEqual(expect.arrayContaining([...seen]));
  expect(seen).toContain('bad-file');
});

describe('values in the fields by type', () => {
  const read = (proto: proto.Tensor): TensorExpr =>
    decodeProto({ graph: { initializer: [{ name: 't', ...proto }] } }).initializers[0].data;
  const bytesOf = (view: ArrayBufferView) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

  test.each<[string, proto.Tensor, ArrayBufferView, DType]>([
    ['float_data', { dataType: 1, dims: [2], floatData: [1.5, -2] }, Float32Array.of(1.5, -2), 'float32'],
    ['double_data', { dataType: 11, dims: [1], doubleData: [0.1] }, Float64Array.of(0.1), 'float64'],
    ['int32_data', { dataType: 6, dims: [2], int32Data: [-1, 7] }, Int32Array.of(-1, 7), 'int32'],
    ['int32_data of int8', { dataType: 3, dims: [2], int32Data: [-1, 7] }, Int8Array.of(-1, 7), 'int8'],
    ['int32_data of bool', { dataType: 9, dims: [2], int32Data: [0, 1] }, Uint8Array.of(0, 1), 'bool'],
    ['int32_data of float16', { dataType: 10, dims: [1], int32Data: [0x3c00] }, Uint16Array.of(0x3c00), 'float16'],
    ['int64_data', { dataType: 7, dims: [1], int64Data: [-3] }, BigInt64Array.of(-3n), 'int64'],
    [
      'uint64_data of uint32',
      { dataType: 12, dims: [1], uint64Data: [2 ** 32 - 1] },
      Uint32Array.of(2 ** 32 - 1),
      'uint32',
    ],
    ['uint64_data', { dataType: 13, dims: [1], uint64Data: [2 ** 40] }, BigUint64Array.of(2n ** 40n), 'uint64'],
    ['nothing, for no elements', { dataType: 1, dims: [0] }, new Float32Array(), 'float32'],
  ])('%s', (_, proto, view, type) => {
    expect(read(proto)).toEqual({ kind: 'bytes', dtype: type, shape: proto.dims, bytes: bytesOf(view) });
  });

  test('int64 values past 2^53 are exact', () => {
    // The largest int64, as exporters write the end of a slice: field 7 (int64_data), wire type 0, ten-byte varint.
    const tensorBytes = [0x08, 0x01, 0x10, 0x07, 0x42, 0x01, 0x74, 0x38, ...Array(8).fill(0xff), 0x7f];
    const graphBytes = [0x2a, tensorBytes.length, ...tensorBytes];
    const data = decode(Uint8Array.from([0x3a, graphBytes.length, ...graphBytes])).initializers[0].data;
    expect(data).toMatchObject({ kind: 'bytes', bytes: bytesOf(BigInt64Array.of(2n ** 63n - 1n)) });
  });
});

describe('refusals', () => {
  const node = (attribute: object): proto.Model => ({
    graph: { node: [{ name: 'n', opType: 'Op', attribute: [attribute] }] },
  });
  const tensorModel = (proto: proto.Tensor): proto.Model => ({ graph: { initializer: [{ name: 't', ...proto }] } });
  const external = (entries: Record<string, string>): proto.Model =>
    tensorModel({
      dataType: 1,
      dims: [2],
      dataLocation: 1,
      externalData: Object.entries(entries).map(([key, text]) => ({ key, value: text })),
    });
  const nested = (depth: number): object =>
    depth === 0 ? {} : { node: [{ opType: 'If', attribute: [{ name: 'g', type: 5, g: nested(depth - 1) }] }] };

  test.each<[string, proto.Model, string, string]>([
    ['no graph', { irVersion: 10 }, 'bad-file', 'no graph'],
    ['an attribute of several graphs', node({ name: 'a', type: 10 }), 'unsupported', 'GRAPHS'],
    ['an attribute of no known type', node({ name: 'a', type: 99 }), 'bad-file', 'type 99'],
    ['a reference to a tensor', node({ name: 'a', type: 4, refAttrName: 'b' }), 'unsupported', 'reference'],
    ['a string that is no text', node({ name: 'a', type: 3, s: Uint8Array.of(0xff) }), 'unsupported', 'UTF-8'],
    ['an attribute without its graph', node({ name: 'a', type: 5 }), 'bad-file', 'no value'],
    ['an int beyond 2^53', node({ name: 'a', type: 2, i: 2 ** 60 }), 'unsupported', '1152921504606846976'],
    ['graphs nested too deep', { graph: nested(20) }, 'bad-file', 'nested'],
    ['strings as tensor elements', tensorModel({ dataType: 8, dims: [0] }), 'unsupported', 'element type 8'],
    ['a negative axis', tensorModel({ dataType: 1, dims: [-1] }), 'bad-file', 'negative'],
    ['axes past counting', tensorModel({ dataType: 1, dims: [2 ** 40, 2 ** 40] }), 'bad-file', 'too large'],
    ['too many axes', tensorModel({ dataType: 1, dims: Array(65).fill(1) }), 'bad-file', '65 axes'],
    [
      'raw data too short',
      tensorModel({ dataType: 1, dims: [2], rawData: new Uint8Array(7) }),
      'bad-file',
      'takes 8 bytes, but has 7',
    ],
    ['typed data too short', tensorModel({ dataType: 1, dims: [2], floatData: [1] }), 'bad-file', '1 values'],
    [
      'one name twice',
      {
        graph: {
          initializer: [
            { name: 't', dataType: 1, dims: [0] },
            { name: 't', dataType: 1, dims: [0] },
          ],
        },
      },
      'bad-file',
      'two initializers',
    ],
    ['a sparse initializer', { graph: { sparseInitializer: [{}] } }, 'unsupported', 'sparse'],
    ['training', { graph: {}, trainingInfo: [{}] }, 'unsupported', 'training'],
    ['a value without a type', { graph: { input: [{ name: 'x' }] } }, 'unsupported', '"x"'],
    ['data above the folder', external({ location: '../secret' }), 'bad-file', 'below the model'],
    ['data hidden above the folder', external({ location: 'a/../../secret' }), 'bad-file', 'below the model'],
    ['data at an absolute path', external({ location: '/etc/passwd' }), 'bad-file', 'below the model'],
    ['data at a Windows path', external({ location: 'C:\\secret' }), 'bad-file', 'below the model'],
    ['data at no path', external({}), 'bad-file', 'below the model'],
    [
      'a length that differs',
      external({ location: 'd', length: '9' }),
      'bad-file',
      'takes 8 bytes, but its external length is 9',
    ],
    ['a negative offset', external({ location: 'd', offset: '-4096' }), 'bad-file', 'offset'],
    ['an offset past counting', external({ location: 'd', offset: '9999999999999999' }), 'bad-file', 'offset'],
  ])('%s', (_, model, code, part) => {
    expect(() => decodeProto(model)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(part) }));
  });

  test('a local function whose attributes have defaults', () => {
    // proto.Model.functions (25) holding proto.Function.attribute_proto (11), empty; proto.Model.graph (7), empty.
    const bytes = Uint8Array.of(0xca, 0x01, 0x02, 0x5a, 0x00, 0x3a, 0x00);
    expect(() => decode(bytes)).toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('attribute_proto') }),
    );
  });
});

test("ONNX's own domain has two spellings and one name here", () => {
  const model = decodeProto({
    graph: { node: [{ opType: 'Add', domain: 'ai.onnx' }] },
    opsetImport: [{ domain: 'ai.onnx', version: 21 }],
  });
  expect(model.nodes[0].domain).toBe('');
  expect(model.opsets).toEqual({ '': 21 });
});
