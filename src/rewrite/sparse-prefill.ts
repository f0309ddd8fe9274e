/** A sparse graph whose calls of several tokens leave out what calls of one token do. */
import { LacunaError } from '../core/errors.ts';
import { type Graph, LACUNA_DOMAIN, type Node } from '../core/graph.ts';
import { Bodies, type Body, ffnSkipStartBody, gatedFfnBody, operatorOf, variantOfNode } from '../ops/index.ts';

/**
 * The graph that decodes as `graph` does, and treats the tokens of one call alike: of `prefill: dense`, what
 * `prefill: sparse` would have made. A text that is fed to it in one call is scored as if its tokens were decoded one by
 * one, which decides nothing else: what a token leaves out depends on that token and its position alone.
 *
 * @throws LacunaError `mismatch` for operators of another version, whose bodies cannot be made anew.
 */
export function withSparsePrefill(graph: Graph): Graph {
  const isDense = ({ domain, attributes }: Node) =>
    domain === LACUNA_DOMAIN && attributes.dense_prefill?.kind === 'int' && attributes.dense_prefill.value !== 0;
  const replaced = new Set(graph.nodes.filter(isDense).map(({ opType }) => opType));
  // Bodies that only these nodes call leave room for the others: an operator has few numbers.
  const bodies = new Bodies(graph.functions.filter(({ name }) => !replaced.has(name)));
  const nodes = graph.nodes.map((node) => (isDense(node) ? sparseNode(node, bodies) : node));
  return { ...graph, nodes, functions: bodies.functions };
}

function sparseNode(node: Node, bodies: Bodies): Node {
  const { dense_prefill: _, ...attributes } = node.attributes;
  return { ...node, attributes, opType: bodies.opTypeOf(sparseBody(node)) };
}

function sparseBody(node: Node): Body {
  switch (operatorOf(node)) {
    case 'FFNSkipStart':
      return ffnSkipStartBody(false);
    case 'GatedFFN':
      return gatedFfnBody({ ...variantOfNode(node), densePrefill: false });
    default:
      throw new LacunaError('mismatch', `What ${node.name} leaves out cannot be measured: its operator is not known`, {
        hint: 'Make the folder again with lacuna sparsify.',
      });
  }
}
