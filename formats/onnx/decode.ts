/** ModelProto bytes -> `Graph`. Anything that a `Graph` cannot hold is refused by name, so nothing is lost silently. */
import { LacunaError } from '../../src/core/errors.ts';
import {
  type Attribute,
  type Body,
  type Dim,
  type Graph,
  LACUNA_DOMAIN,
  type Node,
  type OpFunction,
  type ValueInfo,
} from '../../src/core/graph.ts';
import { decodeUtf8 } from '../../src/core/text.ts';
import { asSafeInteger, badFile, decodeTensor, dtypeOf, type Source } from './decode-tensor.ts';
import * as proto from './proto.ts';

/** The most nodes, initializers, inputs, outputs, functions and metadata, each. A 100-layer model has a tenth. */
const MAX_ENTRIES = 1_000_000;
/** Bodies inside bodies. Exporters nest two deep, and each level costs stack. */
const MAX_DEPTH = 16;

export function decodeModel(source: Source): Graph {
  const model = parse(source);
  if (!model.graph) throw badFile(source, 'there is no graph in it');
  if (model.trainingInfo?.length) throw unsupported(source, 'training information');
  const functions = bounded(model.functions, 'functions', source);
  return {
    ...decodeBody(model.graph, source, 0),
    ...decodeInnerValues(model.graph, source),
    functions: functions.map((fn) => decodeFunction(fn, source)),
    opsets: decodeOpsets(model.opsetImport, source),
    metadata: Object.fromEntries(
      bounded(model.metadataProps, 'metadata entries', source).map(({ key, value }) => [key ?? '', value ?? '']),
    ),
  };
}

function parse(source: Source): proto.Model {
  let lost: string | undefined;
  let model: proto.Model;
  try {
    model = proto.decode(source.bytes);
    lost = proto.findLostFunctionField(source.bytes);
  } catch (cause) {
    throw badFile(source, 'this is not an ONNX model, or it is cut short', cause);
  }
  if (lost !== undefined) throw unsupported(source, `a local function with ${lost}`);
  return model;
}

function unsupported({ path }: Source, what: string): LacunaError {
  return new LacunaError('unsupported', `${path}: ${what} is not supported`);
}

function bounded<T>(entries: readonly T[] | null | undefined, what: string, source: Source): readonly T[] {
  const list = entries ?? [];
  if (list.length > MAX_ENTRIES) throw badFile(source, `${list.length} ${what}; at most ${MAX_ENTRIES} are allowed`);
  return list;
}

function decodeBody(graph: proto.Graph, source: Source, depth: number): Body {
  if (depth > MAX_DEPTH) throw badFile(source, `graphs are nested more than ${MAX_DEPTH} deep`);
  if (graph.sparseInitializer?.length) throw unsupported(source, 'a sparse initializer');
  const initializers = bounded(graph.initializer, 'initializers', source).map((tensor) => ({
    name: tensor.name ?? '',
    data: decodeTensor(tensor, source),
  }));
  requireDistinct(initializers, source);
  return {
    name: graph.name ?? '',
    inputs: bounded(graph.input, 'inputs', source).map((info) => decodeValueInfo(info, source)),
    outputs: bounded(graph.output, 'outputs', source).map((info) => decodeValueInfo(info, source)),
    initializers,
    nodes: bounded(graph.node, 'nodes', source).map((node) => decodeNode(node, source, depth)),
  };
}

function requireDistinct(initializers: Body['initializers'], source: Source): void {
  const seen = new Set<string>();
  for (const { name } of initializers) {
    if (name === '') throw badFile(source, 'an initializer has no name');
    if (seen.has(name)) throw badFile(source, `two initializers are called "${name}"`);
    seen.add(name);
  }
}

function decodeNode(node: proto.Node, source: Source, depth: number): Node {
  const attributes = (node.attribute ?? []).map((attribute): [string, Attribute] => [
    attribute.name ?? '',
    decodeAttribute(attribute, `Attribute "${attribute.name}" of ${node.opType} "${node.name}"`, source, depth),
  ]);
  return {
    name: node.name ?? '',
    opType: node.opType ?? '',
    domain: domainName(node.domain),
    inputs: node.input ?? [],
    outputs: node.output ?? [],
    attributes: Object.fromEntries(attributes),
  };
}

/** ONNX's own domain has two spellings. */
function domainName(domain: string | null | undefined): string {
  return domain === 'ai.onnx' ? '' : (domain ?? '');
}

function decodeAttribute(given: proto.Attribute, what: string, source: Source, depth: number): Attribute {
  const kind = attributeKind(given.type ?? 0, what, source);
  if (given.refAttrName) {
    if (kind === 'tensor' || kind === 'graph' || kind === 'strings')
      throw unsupported(source, `${what}, a reference of kind ${kind},`);
    return { kind: 'reference', name: given.refAttrName, type: kind };
  }
  switch (kind) {
    case 'int':
      return { kind, value: asSafeInteger(given.i ?? 0, what, source) };
    case 'float':
      return { kind, value: given.f ?? 0 };
    case 'string':
      return { kind, value: decodeText(given.s ?? new Uint8Array(), what, source) };
    case 'ints':
      return { kind, value: (given.ints ?? []).map((value) => asSafeInteger(value, what, source)) };
    case 'floats':
      return { kind, value: given.floats ?? [] };
    case 'strings':
      return { kind, value: (given.strings ?? []).map((value) => decodeText(value, what, source)) };
    case 'tensor':
      if (!given.t) throw badFile(source, `${what} has no value`);
      return { kind, value: decodeTensor(given.t, source) };
    case 'graph':
      if (!given.g) throw badFile(source, `${what} has no value`);
      return { kind, value: decodeBody(given.g, source, depth + 1) };
  }
}

/** The kinds of attribute that a `Graph` can hold. */
const ATTRIBUTE_KINDS = ['float', 'int', 'string', 'tensor', 'graph', 'floats', 'ints', 'strings'] as const;

function attributeKind(type: number, what: string, source: Source): (typeof ATTRIBUTE_KINDS)[number] {
  const kind = ATTRIBUTE_KINDS.find((known) => proto.attributeType(known) === type);
  if (kind !== undefined) return kind;
  const other = proto.AttributeType[type];
  if (other === undefined || type === proto.AttributeType.UNDEFINED)
    throw badFile(source, `${what} has type ${type}, which ONNX does not define`);
  throw unsupported(source, `${what}, of kind ${other},`);
}

function decodeText(bytes: Uint8Array, what: string, source: Source): string {
  const refuse = () => unsupported(source, `${what}, which holds bytes that are not UTF-8 text,`);
  // A leading U+FEFF is part of the value.
  return decodeUtf8(bytes, refuse, { ignoreBOM: true });
}

function decodeValueInfo({ name, type }: proto.ValueInfo, source: Source): ValueInfo {
  const tensor = type?.tensorType;
  if (!tensor?.shape) throw unsupported(source, `Value "${name}", whose type or shape is not that of a tensor,`);
  const what = `Value "${name}"`;
  return {
    name: name ?? '',
    dtype: dtypeOf(tensor.elemType ?? 0, what, source),
    shape: (tensor.shape.dim ?? []).map((dim): Dim => {
      if (!Object.hasOwn(dim, 'dimValue')) return dim.dimParam ?? '';
      const size = asSafeInteger(dim.dimValue ?? 0, `an axis of ${what}`, source);
      if (size < 0) throw badFile(source, `${what} has an axis of ${size}`);
      return size;
    }),
  };
}

/** Values that our operators make. Of all others a runtime infers the shapes. */
function decodeInnerValues({ node, valueInfo }: proto.Graph, source: Source): Pick<Graph, 'valueInfo'> {
  const ours = new Set((node ?? []).flatMap(({ domain, output }) => (domain === LACUNA_DOMAIN ? (output ?? []) : [])));
  const found = bounded(valueInfo, 'values', source).filter(({ name }) => ours.has(name ?? ''));
  return found.length === 0 ? {} : { valueInfo: found.map((info) => decodeValueInfo(info, source)) };
}

function decodeFunction(fn: proto.Function, source: Source): OpFunction {
  return {
    domain: domainName(fn.domain),
    name: fn.name ?? '',
    inputs: fn.input ?? [],
    outputs: fn.output ?? [],
    attributes: fn.attribute ?? [],
    nodes: bounded(fn.node, 'nodes', source).map((node) => decodeNode(node, source, 0)),
    opsets: decodeOpsets(fn.opsetImport, source),
    ...(fn.docString ? { doc: fn.docString } : {}),
  };
}

function decodeOpsets(imports: proto.Model['opsetImport'], source: Source): Readonly<Record<string, number>> {
  return Object.fromEntries(
    (imports ?? []).map(({ domain, version }) => [
      domainName(domain),
      asSafeInteger(version ?? 0, `the version of domain "${domain ?? ''}"`, source),
    ]),
  );
}
