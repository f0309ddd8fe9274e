/** Finds a layer's gated FFN in a graph by its taps, and makes sure that it is what its names say. */
import { CONTRIB_DOMAIN, type Initializer, type Node } from '../core/graph.ts';
import { type Tap, tapName } from '../core/model.ts';
import type { Activation } from '../ops/index.ts';
import type { GraphIndex } from './graph-index.ts';
import { type StoredWeight, storedWeight } from './stored-weight.ts';

/** x -> down(act(gate x) * up x), with what it is made of; weights in HF layout, [out, in]. */
export interface FfnMatch {
  readonly kind: 'match';
  /** Values that go in: the normed input and the residual stream. */
  readonly x: string;
  readonly residual: string;
  /** The value that comes out, after the post-norm. */
  readonly output: string;
  readonly activation: Activation;
  readonly gate: Linear;
  readonly up: Linear;
  readonly down: Linear;
  readonly postNorm: Norm | undefined;
  /** What adds up the residual stream and makes x of it, where the block takes that along. */
  readonly norm: StreamNorm | undefined;
  /** All that the block takes the place of. Where the first is, all that it reads has been made, and nothing that it makes is read. */
  readonly nodes: readonly Node[];
}

export interface Norm {
  readonly weight: Initializer;
  readonly epsilon: number;
}

/** x = norm(added + skip), residual = added + skip. */
export interface StreamNorm extends Norm {
  readonly added: string;
  readonly skip: string;
}

export interface Linear {
  readonly weight: StoredWeight;
  readonly bias: Initializer | undefined;
}

export interface Refusal {
  readonly kind: 'refused';
  readonly reason: string;
}

/** Thrown and caught within this file: the first thing that does not fit ends the search. */
class Mismatch extends Error {}

/**
 * Matches, for layer i, with taps `layers.<i>.<tap>`:
 *
 *     gate, up = product(ffn_in, weight) [+ bias]
 *     act      = gate * Sigmoid(gate) | QuickGelu(gate, alpha=1) | Gelu(gate) | Relu(gate)
 *     ffn_out  = product(act * up, weight) [+ bias] [-> SimplifiedLayerNormalization]
 *     product  = FusedMatMul(x, weight, transB=1) | FusedMatMul(x, Cast(weight), transB=1) | MatMul(x, weight)
 *              | MatMulNBits(x, codes, Cast(scales))
 *
 * and, where the FFN alone reads ffn_in, what makes it: ffn_in, '', '', ffn_residual = SkipSimplifiedLayerNormalization(added,
 * skip, weight). Without that the match has no norm.
 *
 * Refuses where an operator is another one, where a weight is no tensor of the model or not stored as GatedFFN takes it,
 * where the three are stored differently, and where a value in between is read from outside.
 */
export function matchFfn(index: GraphIndex, layer: number): FfnMatch | Refusal {
  try {
    return match(index, layer);
  } catch (error) {
    if (error instanceof Mismatch) return { kind: 'refused', reason: error.message };
    throw error;
  }
}

const PRODUCTS = ['FusedMatMul', 'MatMul', 'MatMulNBits'];

function match(index: GraphIndex, layer: number): FfnMatch {
  const tap = (name: Tap) => tapName(layer, name);
  const [x, residual, output] = [tap('ffn_in'), tap('ffn_residual'), tap('ffn_out')];
  for (const value of [x, residual]) expect(index.producer(value) !== undefined, `there is no ${value}`);
  const nodes: Node[] = [];
  const { normed, postNorm } = matchPostNorm(index, output, nodes);
  const down = matchLinear(index, normed, undefined, nodes);
  const product = nodeMaking(index, down.input, ['Mul'], nodes);
  expectInputs(product, [tap('act'), tap('up')]);
  const up = matchLinear(index, tap('up'), x, nodes);
  const activation = matchActivation(index, tap('act'), tap('gate'), nodes);
  const gate = matchLinear(index, tap('gate'), x, nodes);
  expectOwnValues(index, nodes, output);
  expectShapes(gate, up, down);
  const found = { kind: 'match' as const, x, residual, output, activation, gate, up, down, postNorm };
  const norm = streamNorm(index, found, nodes);
  if (norm === undefined) return { ...found, norm, nodes };
  return { ...found, norm: norm.norm, nodes: [norm.node, ...nodes] };
}

/** The norm before an FFN, where the FFN's nodes alone read what it makes; graphs in float16 would have to cast more than it is worth. */
function streamNorm(
  index: GraphIndex,
  { x, residual, gate }: Pick<FfnMatch, 'x' | 'residual' | 'gate'>,
  readers: readonly Node[],
): { readonly norm: StreamNorm; readonly node: Node } | undefined {
  const node = index.producer(x);
  if (node?.opType !== 'SkipSimplifiedLayerNormalization' || node.domain !== CONTRIB_DOMAIN) return undefined;
  const [added, skip, name, ...more] = node.inputs;
  const weight = index.initializers.get(name);
  const { epsilon } = node.attributes;
  const makesBoth = node.outputs.join() === [x, '', '', residual].join();
  const isOwn = !index.isOutput(x) && index.consumers(x).every((reader) => readers.includes(reader));
  const fits = makesBoth && isOwn && more.length === 0 && gate.weight.storage !== 'fp16';
  if (!fits || weight === undefined || epsilon?.kind !== 'float') return undefined;
  return { norm: { added, skip, weight, epsilon: epsilon.value }, node };
}

function expect(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Mismatch(otherwise);
}

/** The node that makes `value`, one of `opTypes`; it joins `nodes`. */
function nodeMaking(index: GraphIndex, value: string, opTypes: readonly string[], nodes: Node[]): Node {
  const node = index.producer(value);
  expect(node !== undefined, `no node makes ${value}`);
  const fits = opTypes.includes(node.opType) && (node.domain === '' || node.domain === CONTRIB_DOMAIN);
  expect(fits, `${node.opType} makes ${value}, wanted ${opTypes.join(' or ')}`);
  nodes.push(node);
  return node;
}

function expectInputs(node: Node, wanted: readonly string[]): void {
  const fits = node.inputs.length === wanted.length && wanted.every((input) => node.inputs.includes(input));
  expect(fits, `${node.opType} reads ${node.inputs.join(', ')}, wanted ${wanted.join(', ')}`);
}

function matchPostNorm(index: GraphIndex, output: string, nodes: Node[]) {
  const norm = index.producer(output);
  if (norm?.opType !== 'SimplifiedLayerNormalization') return { normed: output, postNorm: undefined };
  nodes.push(norm);
  const [normed, name] = norm.inputs;
  const weight = index.initializers.get(name);
  expect(weight !== undefined, `the post-norm's weight ${name} is computed`);
  const { epsilon, axis } = norm.attributes;
  expect(axis === undefined || (axis.kind === 'int' && axis.value === -1), 'the post-norm is not over the last axis');
  return { normed, postNorm: { weight, epsilon: epsilon?.kind === 'float' ? epsilon.value : 1e-5 } };
}

/** `value` = x W^T (+ bias), from `wantedInput` where one is given. */
function matchLinear(index: GraphIndex, value: string, wantedInput: string | undefined, nodes: Node[]) {
  const last = nodeMaking(index, value, [...PRODUCTS, 'Add'], nodes);
  const added = last.opType === 'Add' ? last.inputs.map((input) => index.initializers.get(input)) : [];
  const bias = added.find((initializer) => initializer !== undefined);
  if (last.opType === 'Add') expect(bias !== undefined, `the Add that makes ${value} adds no bias of the model`);
  const sum = last.inputs.find((input) => input !== bias?.name) ?? '';
  const matMul = last.opType === 'Add' ? nodeMaking(index, sum, PRODUCTS, nodes) : last;
  const { transA, transB, alpha } = matMul.attributes;
  const plain = (transA === undefined || isInt(transA, 0)) && isInt(transB, 1);
  const isProduct = plain && (alpha === undefined || (alpha.kind === 'float' && alpha.value === 1));
  expect(isProduct || matMul.opType !== 'FusedMatMul', `${value} is not x W^T`);
  const [input] = matMul.inputs;
  expect(wantedInput === undefined || input === wantedInput, `${value} is made from ${input}, wanted ${wantedInput}`);
  const stored = storedWeight(index, matMul);
  if (stored.kind === 'refused') throw new Mismatch(stored.reason);
  nodes.push(...stored.nodes);
  return { input, weight: stored.weight, bias };
}

function isInt(attribute: Node['attributes'][string] | undefined, value: number): boolean {
  return attribute?.kind === 'int' && attribute.value === value;
}

function matchActivation(index: GraphIndex, act: string, gate: string, nodes: Node[]): Activation {
  const node = nodeMaking(index, act, ['Mul', 'QuickGelu', 'Gelu', 'Relu'], nodes);
  if (node.opType === 'Mul') return matchSilu(index, node, gate, nodes);
  expectInputs(node, [gate]);
  const { alpha, approximate } = node.attributes;
  if (node.opType === 'Relu') return 'relu';
  if (node.opType === 'Gelu') return isString(approximate, 'tanh') ? 'gelu_tanh' : 'gelu';
  expect(alpha?.kind === 'float' && alpha.value === 1, `QuickGelu makes ${act} with an alpha that is not 1`);
  return 'silu';
}

function matchSilu(index: GraphIndex, mul: Node, gate: string, nodes: Node[]): Activation {
  const other = mul.inputs.find((input) => input !== gate) ?? '';
  expectInputs(mul, [gate, other]);
  expectInputs(nodeMaking(index, other, ['Sigmoid'], nodes), [gate]);
  return 'silu';
}

function isString(attribute: Node['attributes'][string] | undefined, value: string): boolean {
  return attribute?.kind === 'string' && attribute.value === value;
}

/** What the matched nodes make is read by them alone, except for the output. */
function expectOwnValues(index: GraphIndex, nodes: readonly Node[], output: string): void {
  for (const value of nodes.flatMap((node) => node.outputs)) {
    if (value === output || value === '') continue;
    const reader = index.consumers(value).find((node) => !nodes.includes(node));
    expect(reader === undefined, `${value} is read by ${reader?.name} too`);
    expect(!index.isOutput(value), `${value} is an output of the model`);
  }
}

function expectShapes(gate: Linear, up: Linear, down: Linear): void {
  const [neurons, hidden] = gate.weight.shape;
  const fits = ({ weight: { shape, storage } }: Linear, rows: number, columns: number) =>
    shape[0] === rows && shape[1] === columns && storage === gate.weight.storage;
  const shown = [gate, up, down].map(({ weight }) => `${weight.storage} [${weight.shape}]`).join(', ');
  expect(fits(up, neurons, hidden) && fits(down, hidden, neurons), `gate, up and down are ${shown}`);
}
