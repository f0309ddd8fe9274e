/** The whole-number attributes of a model's nodes. They can be read in a few milliseconds, without the weights. */
import type { ModelNumbers, NodeNumbers } from '../../src/core/graph.ts';
import { badFile } from './decode-tensor.ts';
import * as proto from './proto.ts';
import { readModel } from './read.ts';

/** Throws `bad-file` for what is no ONNX model, or for one whose functions say more than is read here. */
export async function readNumbers(path: string): Promise<ModelNumbers> {
  const bytes = await readModel(path);
  try {
    const { graph, functions } = proto.decode(bytes);
    const lost = proto.findLostFunctionField(bytes);
    if (lost !== undefined) throw new RangeError(`a local function has ${lost}`);
    return {
      nodes: allNodes(graph?.node),
      functions: (functions ?? []).map(({ domain, name, node }) => ({
        domain: domain ?? '',
        name: name ?? '',
        nodes: allNodes(node),
      })),
    };
  } catch (cause) {
    throw badFile({ path }, 'this is not an ONNX model that can be read', cause);
  }
}

function allNodes(nodes: readonly proto.Node[] | null | undefined): NodeNumbers[] {
  return (nodes ?? []).flatMap((node) => [nodeNumbers(node), ...(node.attribute ?? []).flatMap(nodesOfBody)]);
}

function nodesOfBody({ g, graphs }: proto.Attribute): NodeNumbers[] {
  return [...(g ? [g] : []), ...(graphs ?? [])].flatMap((body) => allNodes(body.node));
}

function nodeNumbers({ domain, opType, name, attribute }: proto.Node): NodeNumbers {
  const attributes = attribute ?? [];
  const ints = attributes.filter(({ type, refAttrName }) => type === proto.AttributeType.INT && !refAttrName);
  const references = attributes.filter(({ refAttrName }) => refAttrName);
  return {
    domain: domain ?? '',
    opType: opType ?? '',
    name: name ?? '',
    ints: Object.fromEntries(ints.map(({ name: of, i }) => [of ?? '', Number(String(i ?? 0))])),
    references: Object.fromEntries(references.map(({ name: of, refAttrName }) => [of ?? '', refAttrName ?? ''])),
  };
}
