/** Finds the parts of a decoder whose weights are in blocks: a norm of the residual stream and the products that read it. */
import { type Attribute, attr, type Node } from '../core/graph.ts';
import { contractOf, type OperatorContract, type OperatorName } from '../ops/contract.ts';
import { attentionPattern, ffnPattern, headPattern, type Storages, shiftedProduct, sumNorm } from './block-patterns.ts';
import type { GraphIndex } from './graph-index.ts';
import { type FoundAttribute, type Match, matchPattern, type Pattern, type Refusal, unless } from './pattern.ts';
import { blockStorageOf } from './stored-weight.ts';

/** What one operator takes the place of, searched for around each node of type `middle`. */
export interface Part {
  readonly operator: OperatorName;
  readonly middle: string;
  readonly pattern: Pattern;
}

export interface Lifted {
  /** In order; values that pass between them are theirs alone. */
  readonly nodes: readonly Node[];
  /** Values of the graph by the contract's names of inputs and outputs. */
  readonly inputs: Readonly<Record<string, string>>;
  readonly outputs: Readonly<Record<string, string>>;
  /** Attributes that the body takes from the node: by the node's attribute, where each is and what it is called there. */
  readonly attributes: Readonly<Record<string, FoundAttribute['places']>>;
}

export interface PartMatch {
  readonly kind: 'match';
  readonly operator: OperatorName;
  readonly lifted: Lifted;
  /** Attributes of the node that takes the nodes' place. */
  readonly attributes: Readonly<Record<string, Attribute>>;
}

const BLOCKS: Storages = { products: [shiftedProduct], vectors: ['float32'] };

/** In the order in which they are searched for: the products of the first two are not searched around any more. */
export const PARTS: readonly Part[] = [
  { operator: 'NormAttention', middle: 'GroupQueryAttention', pattern: unless(wrongHeads, attentionPattern(BLOCKS)) },
  { operator: 'GatedFFN', middle: 'Mul', pattern: ffnPattern(BLOCKS, sumNorm(BLOCKS)) },
  { operator: 'NormProduct', middle: 'MatMulNBits', pattern: headPattern(BLOCKS) },
];

/** The part around a node, with all of its end that only the part reads; or why there is none. */
export function matchPart(index: GraphIndex, { operator, pattern }: Part, middle: Node): PartMatch | Refusal {
  const { outputs }: OperatorContract = contractOf(operator);
  const search = {
    from: endsAfter(index, middle),
    given: { middle: middle.outputs[0] },
    open: outputs.map(({ name }) => name),
  };
  const found = matchPattern(index, pattern, search);
  return found.kind === 'refused' ? found : partOf(index, operator, found);
}

/** Where a part around a node may end: its value, the value made from it, and so on, the last first. */
function endsAfter(index: GraphIndex, middle: Node): [string, ...string[]] {
  const ends: [string, ...string[]] = [middle.outputs[0]];
  for (let steps = 0; steps < LONGEST_END; steps++) {
    const [reader] = index.consumers(ends[0]);
    if (reader === undefined) break;
    ends.unshift(reader.outputs[0]);
  }
  return ends;
}

/** A product, a bias and a norm; or what caps logits. */
const LONGEST_END = 3;

function partOf(index: GraphIndex, operator: OperatorName, match: Match): PartMatch {
  const { inputs, outputs, attributes }: OperatorContract = contractOf(operator);
  const { values, tensors } = match;
  const isRead = (value: string | undefined) =>
    value !== undefined && (index.isOutput(value) || index.consumers(value).length > 0);
  const found = Object.keys(attributes).flatMap((name) => {
    const one = match.attributes[name];
    return one === undefined ? [] : [[name, one] as const];
  });
  return {
    kind: 'match',
    operator,
    attributes: {
      ...Object.fromEntries(found.map(([name, { value }]) => [name, value])),
      storage: attr.string(blockStorageOf(match)),
      ...(operator === 'GatedFFN' && { measure: attr.string('none') }),
    },
    lifted: {
      nodes: index.graph.nodes.filter((node) => match.nodes.includes(node)),
      inputs: known(inputs.map(({ name }) => [name, tensors[name]?.name ?? values[name]])),
      outputs: known(
        outputs.flatMap(({ name }) => (name === 'y' || isRead(values[name]) ? [[name, values[name]]] : [])),
      ),
      attributes: Object.fromEntries(found.map(([name, { places }]) => [name, places])),
    },
  };
}

function known(names: readonly (readonly [string, string | undefined])[]): Record<string, string> {
  return Object.fromEntries(names.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
}

/** Heads that kernels take are whole vectors, and few enough of them for a stack. */
function wrongHeads({ values: { past_key = '' } }: Match, { graph }: GraphIndex): string | undefined {
  const cache = graph.inputs.find(({ name }) => name === past_key);
  if (cache?.dtype !== 'float32') return `${past_key} is no float32 cache`;
  const width = cache.shape[3];
  const fits = typeof width === 'number' && width % 16 === 0 && width <= 512;
  return fits ? undefined : `heads are ${width} wide`;
}
