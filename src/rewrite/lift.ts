/** Nodes of a graph as the portable body of one node in their place. */
import { type Attribute, attr, BASE_OPSETS, LACUNA_DOMAIN, type Node } from '../core/graph.ts';
import { contractOf, type OperatorContract, type OperatorName } from '../ops/contract.ts';
import type { Body } from '../ops/index.ts';

export interface Lifted {
  /** In order; values that pass between them are theirs alone. */
  readonly nodes: readonly Node[];
  /** Values of the graph by the contract's names of inputs and outputs. */
  readonly inputs: Readonly<Record<string, string>>;
  readonly outputs: Readonly<Record<string, string>>;
  /** Attributes that the body takes from the node: by the node's attribute, where each is and what it is called there. */
  readonly attributes: Readonly<Record<string, readonly (readonly [node: Node, attribute: string])[]>>;
}

/**
 * The body that is what the graph has: a runtime that inlines it gets the very graph that was there before. Values
 * have the contract's names or are numbered, so that layers which are built alike have one body.
 */
export function liftBody(operator: OperatorName, { nodes, inputs, outputs, attributes }: Lifted, doc: string): Body {
  const contract: OperatorContract = contractOf(operator);
  const formal = new Map([...Object.entries(inputs), ...Object.entries(outputs)].map(([role, value]) => [value, role]));
  const rename = (value: string) => {
    if (value === '') return '';
    const known = formal.get(value) ?? `value_${formal.size}`;
    formal.set(value, known);
    return known;
  };
  const last = contract.outputs.findLastIndex(({ name }) => name in outputs);
  return {
    operator,
    domain: LACUNA_DOMAIN,
    inputs: contract.inputs.map((input) => input.name),
    outputs: contract.outputs.slice(0, last + 1).map(({ name }) => name),
    attributes: Object.keys(contract.attributes),
    nodes: nodes.map((node, index) => ({
      ...node,
      name: `${index}.${node.opType}`,
      inputs: node.inputs.map(rename),
      outputs: node.outputs.map(rename),
      attributes: { ...node.attributes, ...references(node, attributes) },
    })),
    opsets: BASE_OPSETS,
    doc,
  };
}

function references(node: Node, attributes: Lifted['attributes']): Record<string, Attribute> {
  const all = Object.entries(attributes).flatMap(([name, places]) =>
    places.flatMap(([at, attribute]) =>
      at === node ? [[attribute, attr.reference(name, typeOf(node, attribute))] as const] : [],
    ),
  );
  return Object.fromEntries(all);
}

function typeOf(node: Node, attribute: string): 'int' | 'float' {
  return node.attributes[attribute]?.kind === 'int' ? 'int' : 'float';
}
