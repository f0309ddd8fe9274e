/** Decoders whose weights are in blocks: attention, FFN and head, each with the norm before it, as one operator. */
import { type Graph, LACUNA_DOMAIN, type Node, type OpFunction } from '../core/graph.ts';
import { callNode } from '../ops/contract.ts';
import { indexGraph, replaceNodes } from './graph-index.ts';
import { liftFunction } from './lift.ts';
import { matchPart, PARTS, type PartMatch } from './match-parts.ts';
import type { Pass, PassResult, RuleReport } from './pass.ts';
import type { Refusal } from './pattern.ts';

/**
 * Before: norm of the stream, MatMulNBits and what is between them, operator by operator
 * After:  NormAttention, NormFFN, NormProduct, whose portable bodies are the very nodes that were there
 *
 * A runtime without our kernels inlines the bodies and has the graph of before; kernels read the same weights, in one parallel
 * region a part. Refuses where `matchPart` does, and where a part's body is not that of the parts before it: one op type
 * has one body.
 */
export const fuseParts: Pass = {
  name: 'fuse-parts',
  description:
    'norm, MatMulNBits, GroupQueryAttention or activation, MatMulNBits -> NormAttention, NormFFN, NormProduct',
  apply: (graph) => fuse(graph),
};

const DOCS: Readonly<Record<string, string>> = {
  NormAttention: 'y = output(attention(norm(x + skip))); sum = x + skip.',
  NormFFN: 'y = down(act(gate n) * up n), n = norm(x + skip); sum = x + skip.',
  NormProduct: 'y = weight norm(x + skip), softly capped.',
};

function fuse(graph: Graph): PassResult {
  if (!graph.nodes.some(({ opType }) => opType === 'MatMulNBits')) return { graph, report: [] };
  const index = indexGraph(graph);
  const replacements = new Map<Node, readonly Node[]>();
  const functions = new Map<string, OpFunction>();
  const report: RuleReport[] = [];
  for (const part of PARTS) {
    for (const node of graph.nodes.filter(({ opType }) => opType === part.middle)) {
      if (replacements.has(node)) continue;
      const found = accept(matchPart(index, part, node), functions, replacements);
      report.push({ rule: fuseParts.name, block: node.outputs[0], ...outcomeOf(found, node) });
      if (found.kind === 'match') replace(found, node, replacements);
    }
  }
  if (replacements.size === 0) return { graph, report };
  const fused = replaceNodes(graph, replacements);
  return {
    graph: {
      ...fused,
      functions: [...fused.functions, ...functions.values()],
      opsets: { ...fused.opsets, [LACUNA_DOMAIN]: 1 },
    },
    report,
  };
}

function outcomeOf(found: PartMatch | Refusal, { name }: Node): Pick<RuleReport, 'applied' | 'reason' | 'nodes'> {
  if (found.kind === 'refused') return { applied: false, reason: found.reason };
  return { applied: true, reason: `one operator in place of ${found.lifted.nodes.length}`, nodes: [`${name}.part`] };
}

/** Keeps a part's body, unless the part cannot be one operator beside those before it. */
function accept(
  found: PartMatch | Refusal,
  functions: Map<string, OpFunction>,
  replacements: ReadonlyMap<Node, readonly Node[]>,
): PartMatch | Refusal {
  if (found.kind === 'refused') return found;
  const { operator, lifted } = found;
  const refused = (reason: string): Refusal => ({ kind: 'refused', reason });
  if (lifted.nodes.some((node) => replacements.has(node))) return refused('a node of it is in another part');
  const made = liftFunction(operator, lifted, DOCS[operator]);
  const known = functions.get(made.name);
  if (known !== undefined && JSON.stringify(known) !== JSON.stringify(made))
    return refused(`its body is another than that of the ${made.name} before it`);
  functions.set(made.name, made);
  return found;
}

/** In the place of the last node, since all that the others read has been made by then. */
function replace(
  { operator, lifted, attributes }: PartMatch,
  middle: Node,
  replacements: Map<Node, readonly Node[]>,
): void {
  const node = callNode(operator, {
    node: `${middle.name}.part`,
    opType: lifted.opType,
    inputs: lifted.inputs as never,
    outputs: lifted.outputs,
    attributes,
  });
  for (const one of lifted.nodes) replacements.set(one, []);
  replacements.set(lifted.nodes[lifted.nodes.length - 1], [node]);
}
