/** What all portable bodies share: how a function is put together, and few-node phrases for what ONNX lacks. */
import { attr, BASE_OPSETS, type Body as Branch, LACUNA_DOMAIN, type Node } from '../core/graph.ts';
import { GraphBuilder } from '../core/graph-builder.ts';
import type { Body } from './bodies.ts';
import { contractOf, type OperatorContract, type OperatorName, type OutputName } from './contract.ts';

/**
 * A body, whose nodes `write` makes. Inputs and outputs have the contract's names; `outputs` lists those that this body makes. A
 * runtime computes all of them, wanted or not: it inlines bodies, but prunes nothing.
 */
export function operatorBody<Name extends OperatorName>(
  operator: Name,
  doc: string,
  outputs: readonly OutputName<Name>[],
  write: (g: GraphBuilder) => void,
): Body {
  const g = new GraphBuilder('');
  write(g);
  const made = new Set<string>(outputs);
  const body = bodyOf(operator, doc, made, g.nodes);
  // ONNX Runtime crashes when it inlines a body in which a value is called as an input is. In branches, names have a scope.
  const clash = body.inputs.find((input) => g.nodes.some(({ outputs: own }) => own.includes(input)));
  if (clash !== undefined) throw new RangeError(`${operator} makes a value called ${clash}, as its input is`);
  // A function must make each of its outputs; a constant in the gap costs nothing.
  for (const gap of body.outputs.filter((output) => !made.has(output)))
    g.op('Constant', [], { attributes: { value_float: attr.float(0) }, outputs: [gap] });
  return body;
}

/** A body of these nodes, with the contract's outputs up to the last that they make. */
export function bodyOf(operator: OperatorName, doc: string, made: ReadonlySet<string>, nodes: readonly Node[]): Body {
  const { inputs, outputs, attributes }: OperatorContract = contractOf(operator);
  const last = outputs.findLastIndex(({ name }) => made.has(name));
  return {
    operator,
    domain: LACUNA_DOMAIN,
    inputs: inputs.map(({ name }) => name),
    outputs: outputs.slice(0, last + 1).map(({ name }) => name),
    attributes: Object.keys(attributes),
    nodes,
    opsets: BASE_OPSETS,
    doc,
  };
}

/** The calling node's float attribute as a scalar. */
export function floatAttribute(g: GraphBuilder, name: string): string {
  return g.op('Constant', [], { attributes: { value_float: attr.reference(name, 'float') }, outputs: [g.fresh(name)] });
}

/** The calling node's integer attribute as an int32 scalar. */
export function int32Attribute(g: GraphBuilder, name: string): string {
  return g.cast(intAttribute(g, name), 'int32');
}

/** The calling node's integer attribute as int64 [1]: the size of an axis. */
export function sizeAttribute(g: GraphBuilder, name: string): string {
  return g.op('Unsqueeze', [intAttribute(g, name), g.int64(0)]);
}

function intAttribute(g: GraphBuilder, name: string): string {
  return g.op('Constant', [], { attributes: { value_int: attr.reference(name, 'int') }, outputs: [g.fresh(name)] });
}

/** The size of one axis, as int64 [1]. */
export function axisSize(g: GraphBuilder, x: string, axis: number): string {
  return g.op('Shape', [x], { attributes: { start: attr.int(axis), end: attr.int(axis + 1) } });
}

/** Sums, means and the like over the last axis; `keep` leaves it there with size 1. */
export function reduceLast(g: GraphBuilder, opType: string, x: string, keep: boolean): string {
  return g.op(opType, [x, g.int64(-1)], { attributes: { keepdims: attr.int(keep ? 1 : 0) } });
}

/** One branch of an `If`: `write` gets a builder of its own scope and returns the branch's results. */
export function branch(
  scope: string,
  outputs: Branch['outputs'],
  write: (g: GraphBuilder, names: readonly string[]) => void,
): Branch {
  const g = new GraphBuilder(scope);
  write(
    g,
    outputs.map((output) => output.name),
  );
  return g.body(scope, [], outputs);
}
