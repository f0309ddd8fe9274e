/** Decoders whose weights are in blocks: attention, FFN and head, each with the norm before it, as one operator. */
import { type Attribute, attr, LACUNA_DOMAIN, type Node } from '../core/graph.ts';
import { callNode } from '../ops/contract.ts';
import { Bodies, type Body, bodyOf } from '../ops/index.ts';
import { indexGraph, type Replacements, replaceNodes } from './graph-index.ts';
import { type Lifted, matchPart, PARTS, type PartMatch } from './match-parts.ts';
import type { Pass, RuleReport } from './pass.ts';
import type { Refusal } from './pattern.ts';

/**
 * Before: norm of the stream, MatMulNBits and what is between them, operator by operator
 * After:  NormAttention, GatedFFN, NormProduct, whose portable bodies are the very nodes that were there
 *
 * Kernels read the same weights, in one parallel region a part. Refuses where `matchPart` does, and too many different
 * bodies.
 */
export const fuseParts: Pass = {
  name: 'fuse-parts',
  description:
    'norm, MatMulNBits, GroupQueryAttention or activation, MatMulNBits -> NormAttention, GatedFFN, NormProduct',
  apply(graph) {
    if (!graph.nodes.some(({ opType }) => opType === 'MatMulNBits')) return { graph, report: [] };
    const index = indexGraph(graph);
    const replacements = new Map<Node, readonly Node[]>();
    const bodies = new Bodies(graph.functions);
    const report: RuleReport[] = [];
    for (const part of PARTS) {
      for (const node of graph.nodes.filter(({ opType }) => opType === part.middle)) {
        if (replacements.has(node)) continue;
        const found = acceptable(matchPart(index, part, node), bodies, replacements);
        report.push({ rule: fuseParts.name, block: node.outputs[0], ...outcomeOf(found, node) });
        if (found.kind === 'match') replace(found, node, bodies, replacements);
      }
    }
    if (replacements.size === 0) return { graph, report };
    const fused = replaceNodes(graph, replacements);
    return {
      graph: { ...fused, functions: bodies.functions, opsets: { ...fused.opsets, [LACUNA_DOMAIN]: 1 } },
      report,
    };
  },
};

const DOCS: Readonly<Record<string, string>> = {
  NormAttention: 'y = output(attention(norm(x + skip))); sum = x + skip.',
  GatedFFN: 'y = down(act(gate n) * up n), n = norm(x + skip); sum = x + skip.',
  NormProduct: 'y = weight norm(x + skip), softly capped.',
};

function outcomeOf(found: PartMatch | Refusal, { name }: Node): Pick<RuleReport, 'applied' | 'reason' | 'nodes'> {
  if (found.kind === 'refused') return { applied: false, reason: found.reason };
  return { applied: true, reason: `one operator in place of ${found.lifted.nodes.length}`, nodes: [`${name}.part`] };
}

/** The part, unless it cannot be one operator beside those before it. */
function acceptable(found: PartMatch | Refusal, bodies: Bodies, replacements: Replacements): PartMatch | Refusal {
  if (found.kind === 'refused') return found;
  const refused = (reason: string): Refusal => ({ kind: 'refused', reason });
  if (found.lifted.nodes.some((node) => replacements.has(node))) return refused('a node of it is in another part');
  return bodies.hasRoom(liftedBody(found))
    ? found
    : refused(`the model has too many other bodies of ${found.operator}`);
}

/**
 * The nodes as they were: a runtime that inlines the body gets the very graph that was there before. Values have the contract's
 * names or are numbered, so that layers which are built alike have one body.
 */
function liftedBody({ operator, lifted: { nodes, inputs, outputs, attributes } }: PartMatch): Body {
  const formal = new Map([...Object.entries(inputs), ...Object.entries(outputs)].map(([role, value]) => [value, role]));
  const rename = (value: string) => {
    if (value === '') return '';
    const known = formal.get(value) ?? `value_${formal.size}`;
    formal.set(value, known);
    return known;
  };
  const renamed = nodes.map((node, index) => ({
    ...node,
    name: `${index}.${node.opType}`,
    inputs: node.inputs.map(rename),
    outputs: node.outputs.map(rename),
    attributes: { ...node.attributes, ...references(node, attributes) },
  }));
  return bodyOf(operator, DOCS[operator], new Set(Object.keys(outputs)), renamed);
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

/** In the place of the last node, since all that the others read has been made by then. */
function replace(found: PartMatch, middle: Node, bodies: Bodies, replacements: Map<Node, readonly Node[]>): void {
  const { operator, lifted, attributes } = found;
  const node = callNode(operator, {
    node: `${middle.name}.part`,
    opType: bodies.opTypeOf(liftedBody(found)),
    inputs: lifted.inputs as never,
    outputs: lifted.outputs,
    attributes,
  });
  for (const one of lifted.nodes) replacements.set(one, []);
  replacements.set(lifted.nodes[lifted.nodes.length - 1], [node]);
}
