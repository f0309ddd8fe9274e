/** `Graph` -> ModelProto bytes; where the weights are comes from a layout, their values from whoever reads them. */
import { basename, dirname, resolve } from 'node:path';
import { byteLength, ELEMENT_TYPES } from '../../src/core/dtype.ts';
import { LacunaError } from '../../src/core/errors.ts';
import {
  type Attribute,
  type Body,
  type Dim,
  type Graph,
  IR_VERSION,
  type Node,
  type OpFunction,
  type ValueInfo,
} from '../../src/core/graph.ts';
import { type EncodedModel, MEMORY_DATA, type ModelBeside } from '../../src/core/runner.ts';
import type { TensorExpr } from '../../src/core/tensor.ts';
import { readTensorBytes, streamTensor } from '../../src/tensors/index.ts';
import { type Layout, layOut, type Slot } from './layout.ts';
import * as proto from './proto.ts';

/**
 * A whole model in memory, as a runtime takes it.
 *
 * @example
 * const { model, externalData } = await encodeModel(graph);
 * InferenceSession.create(model, { externalData: externalData && [{ path: 'model.onnx_data', data: externalData }] });
 */
export async function encodeModel(graph: Graph): Promise<EncodedModel> {
  const layout = layOut(graph);
  const model = await encodeGraph(graph, layout, MEMORY_DATA);
  if (layout.totalBytes === 0) return { model, externalData: undefined };
  const externalData = new Uint8Array(layout.totalBytes);
  const fits = {};
  for (const slot of layout.slots) {
    let position = slot.byteOffset;
    for await (const block of streamTensor(slot.data, { fits })) {
      externalData.set(block, position);
      position += block.length;
    }
  }
  return { model, externalData };
}

/**
 * Encodes `graph` without copying the weights that lie in files of the model's folder, as those of `readOnnx(modelPath)` do. All
 * other weights go into the bytes. A runtime opens the result as if it lay in `folder`.
 *
 * @example
 * const graph = withCounts(await readOnnx(modelPath));
 * const kept = { name: 'layers.0.kept', dtype: 'int32', shape: ['batch_size', 'sequence_length'] };
 * const { model, folder } = await encodeReferencing({ ...graph, outputs: [...graph.outputs, kept] }, modelPath);
 */
export async function encodeReferencing(graph: Graph, modelPath: string): Promise<ModelBeside> {
  const folder = resolve(dirname(modelPath));
  const slotOf = new Map<string, Slot>();
  for (const { name, data } of graph.initializers)
    if (data.kind === 'file' && dirname(resolve(data.path)) === folder) {
      const { dtype, shape, byteOffset, path } = data;
      slotOf.set(name, { byteOffset, byteLength: byteLength(dtype, shape), data, location: basename(path) });
    }
  const own = `${basename(modelPath)}_data`;
  return { model: await encodeGraph(graph, { slotOf }, own), folder: dirname(modelPath) };
}

/** The ModelProto of a graph whose large weights are in the file `location`. Equal graphs give equal bytes. */
export async function encodeGraph(graph: Graph, { slotOf }: Places, location: string): Promise<Uint8Array> {
  const context = { slotOf, location, inline: await readInline(graph, slotOf) };
  return proto.encode({
    irVersion: IR_VERSION,
    producerName: 'lacuna',
    opsetImport: opsetImport(graph, graph.functions),
    graph: { ...graphProto(graph, context), valueInfo: (graph.valueInfo ?? []).map(valueInfoProto) },
    metadataProps: Object.entries(graph.metadata).map(([key, value]) => ({ key, value })),
    functions: graph.functions.map((fn) => functionProto(fn, graph.functions, context)),
  });
}

type Places = Pick<Layout, 'slotOf'>;

interface Context extends Places {
  readonly location: string;
  readonly inline: ReadonlyMap<TensorExpr, Uint8Array>;
}

/** Reads every tensor inside the model itself, so that encoding need not wait. */
async function readInline(graph: Graph, slotOf: Layout['slotOf']): Promise<ReadonlyMap<TensorExpr, Uint8Array>> {
  const tensors = new Set<TensorExpr>();
  for (const { name, data } of graph.initializers) if (!slotOf.has(name)) tensors.add(data);
  collectTensors(graph.nodes, tensors);
  for (const { nodes } of graph.functions) collectTensors(nodes, tensors);
  const inline = new Map<TensorExpr, Uint8Array>();
  let total = 0;
  for (const tensor of tensors) {
    const bytes = await readTensorBytes(tensor);
    total += bytes.length;
    if (total > proto.MAX_MODEL_BYTES)
      throw new LacunaError(
        'unsupported',
        `Constants inside a model may take ${proto.MAX_MODEL_BYTES} bytes, these take more`,
        { hint: 'Make them initializers of the main graph, which go into the external data.' },
      );
    inline.set(tensor, bytes);
  }
  return inline;
}

function collectTensors(nodes: readonly Node[], into: Set<TensorExpr>): void {
  for (const { attributes } of allNodes(nodes)) {
    for (const attribute of Object.values(attributes)) {
      if (attribute.kind === 'tensor') into.add(attribute.value);
      if (attribute.kind === 'graph') for (const { data } of attribute.value.initializers) into.add(data);
    }
  }
}

/** Nodes and those of graphs in their attributes. */
function* allNodes(nodes: readonly Node[]): Generator<Node> {
  for (const node of nodes) {
    yield node;
    for (const attribute of Object.values(node.attributes))
      if (attribute.kind === 'graph') yield* allNodes(attribute.value.nodes);
  }
}

function graphProto(body: Body, context: Context, isMain = true): proto.Graph {
  return {
    name: body.name,
    node: body.nodes.map((node) => nodeProto(node, context)),
    initializer: body.initializers.map(({ name, data }) => {
      const slot = isMain ? context.slotOf.get(name) : undefined;
      return slot === undefined
        ? inlineTensor(name, data, context)
        : externalTensor(name, data, slot, slot.location ?? context.location);
    }),
    input: body.inputs.map(valueInfoProto),
    output: body.outputs.map(valueInfoProto),
  };
}

function nodeProto(node: Node, context: Context): proto.Node {
  return {
    input: [...node.inputs],
    output: [...node.outputs],
    name: node.name,
    opType: node.opType,
    domain: node.domain,
    attribute: Object.entries(node.attributes).map(([name, attribute]) => attributeProto(name, attribute, context)),
  };
}

function attributeProto(name: string, attribute: Attribute, context: Context): proto.Attribute {
  if (attribute.kind === 'reference')
    return { name, refAttrName: attribute.name, type: proto.attributeType(attribute.type) };
  const head = { name, type: proto.attributeType(attribute.kind) };
  switch (attribute.kind) {
    case 'int':
      return { ...head, i: attribute.value };
    case 'float':
      return { ...head, f: attribute.value };
    case 'string':
      return { ...head, s: utf8.encode(attribute.value) };
    case 'ints':
      return { ...head, ints: [...attribute.value] };
    case 'floats':
      return { ...head, floats: [...attribute.value] };
    case 'strings':
      return { ...head, strings: attribute.value.map((text) => utf8.encode(text)) };
    case 'tensor':
      return { ...head, t: inlineTensor('', attribute.value, context) };
    case 'graph':
      return { ...head, g: graphProto(attribute.value, context, false) };
  }
}

const utf8 = new TextEncoder();

function functionProto(fn: OpFunction, functions: readonly OpFunction[], context: Context): proto.Function {
  return {
    name: fn.name,
    input: [...fn.inputs],
    output: [...fn.outputs],
    attribute: [...fn.attributes],
    node: fn.nodes.map((node) => nodeProto(node, context)),
    ...(fn.doc === undefined ? {} : { docString: fn.doc }),
    opsetImport: opsetImport(fn, functions),
    domain: fn.domain,
  };
}

function inlineTensor(name: string, data: TensorExpr, { inline }: Context): proto.Tensor {
  return { ...tensorHead(name, data), rawData: inline.get(data) };
}

function externalTensor(name: string, data: TensorExpr, slot: Slot, location: string): proto.Tensor {
  return {
    ...tensorHead(name, data),
    externalData: [
      { key: 'location', value: location },
      { key: 'offset', value: String(slot.byteOffset) },
      { key: 'length', value: String(slot.byteLength) },
    ],
    dataLocation: proto.EXTERNAL_LOCATION,
  };
}

function tensorHead(name: string, { dtype, shape }: TensorExpr): proto.Tensor {
  return { dims: [...shape], dataType: ELEMENT_TYPES[dtype].code, ...(name === '' ? {} : { name }) };
}

function valueInfoProto({ name, dtype, shape }: ValueInfo): proto.ValueInfo {
  return { name, type: { tensorType: { elemType: ELEMENT_TYPES[dtype].code, shape: { dim: shape.map(dimension) } } } };
}

/** '' is an unknown dimension. */
function dimension(dim: Dim): { dimValue?: number; dimParam?: string } {
  if (typeof dim === 'number') return { dimValue: dim };
  return dim === '' ? {} : { dimParam: dim };
}

/**
 * The versions of all domains whose operators occur. ONNX also requires the domains of local functions; these have no
 * version, so 1 is filled in. Any other missing domain has no version to guess.
 */
function opsetImport({ nodes, opsets }: Pick<OpFunction, 'nodes' | 'opsets'>, functions: readonly OpFunction[]) {
  const complete: Record<string, number> = { ...opsets };
  const local = new Set(functions.map(({ domain }) => domain));
  for (const { domain } of allNodes(nodes)) {
    if (Object.hasOwn(complete, domain)) continue;
    if (!local.has(domain))
      throw new LacunaError('mismatch', `Operators of domain "${domain}" are used, but its version is not stated`);
    complete[domain] = 1;
  }
  return Object.entries(complete).map(([domain, version]) => ({ domain, version }));
}
