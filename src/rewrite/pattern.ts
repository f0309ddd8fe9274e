/**
 * What a part of a graph looks like, and the search for it, backwards from the value that it makes. A pattern gives
 * names to what it comes across. One name is one value, or one attribute, wherever it stands. Of alternatives none of
 * which fits, the one that came furthest is what a refusal speaks of.
 */
import type { DType } from '../core/dtype.ts';
import { type Attribute, attr, CONTRIB_DOMAIN, type Initializer, type Node } from '../core/graph.ts';
import { GraphBuilder } from '../core/graph-builder.ts';
import type { GraphIndex } from './graph-index.ts';

/**
 * Looks at what makes a value, adds what it finds to what has been found so far, and hands that to `next`. Who has a choice may
 * take it again where `next` refuses, so that a match is found if there is one.
 */
export type Pattern = (at: Place, match: Match, next: Next) => Match | Mismatch;

type Next = (match: Match) => Match | Mismatch;

/** A value, and the value that is made from it. */
export interface Place {
  readonly index: GraphIndex;
  readonly value: string;
  readonly reader: string;
}

export interface Match {
  readonly kind: 'match';
  /** By the pattern's names: values of the graph, tensors of the model, attributes of nodes. */
  readonly values: Readonly<Record<string, string | undefined>>;
  readonly tensors: Readonly<Record<string, Initializer | undefined>>;
  readonly attributes: Readonly<Record<string, FoundAttribute | undefined>>;
  /** Values that were known beforehand. */
  readonly given: Readonly<Record<string, string | undefined>>;
  /** Each once, from the end backwards. */
  readonly nodes: readonly Node[];
  /** How much has fitted. */
  readonly steps: number;
}

export interface FoundAttribute {
  readonly value: Attribute;
  /** The nodes that have it, and what it is called there. */
  readonly places: readonly (readonly [node: Node, attribute: string])[];
}

export interface Refusal {
  readonly kind: 'refused';
  readonly reason: string;
}

export interface Mismatch extends Refusal {
  /** What there is, and what fits: the reason's two halves. */
  readonly found: string;
  readonly wanted: readonly string[];
  /** How much had fitted. */
  readonly steps: number;
}

export interface Search {
  /** Values to start from, the first of which that fits is `y`. */
  readonly from: readonly [string, ...string[]];
  /** Values that are known beforehand, by name. */
  readonly given?: Readonly<Record<string, string>>;
  /** Names of values that others may read, beside `y`. */
  readonly open?: readonly string[];
}

/**
 * The pattern's match, or where and why the search for it stopped. A match whose values are read from outside, or are
 * outputs of the model, is refused: whoever replaces it takes them away.
 *
 * @example matchPattern(index, op('Relu', { inputs: [capture('x')] }), { from: ['out'] });
 */
export function matchPattern(index: GraphIndex, pattern: Pattern, { from, given = {}, open = [] }: Search) {
  const start: Match = { kind: 'match', given, values: {}, tensors: {}, attributes: {}, nodes: [], steps: 0 };
  const [first, ...others] = from.map(
    (value): Pattern =>
      (_, match, next) =>
        capture('y', pattern)({ index, value, reader: value }, match, next),
  );
  return oneOf(first, ...others)({ index, value: '', reader: '' }, start, (match) => {
    const isOpen = new Set(['', ...['y', ...open].map((name) => match.values[name])]);
    for (const value of match.nodes.flatMap(({ outputs }) => outputs).filter((one) => !isOpen.has(one))) {
      const reader = index.consumers(value).find((node) => !match.nodes.includes(node));
      if (reader !== undefined) return stop(match, `${value} is read by ${reader.name} too`);
      if (index.isOutput(value)) return stop(match, `${value} is an output of the model`);
    }
    return match;
  });
}

/** A number that a pattern has named. */
export function numberOf({ attributes }: Match, name: string): number {
  const value = attributes[name]?.value;
  if (value?.kind !== 'int' && value?.kind !== 'float') throw new RangeError(`No number is called ${name}`);
  return value.value;
}

function present(of: Pattern): Pattern {
  return (at, match, next) => (at.value === '' ? stop(match, `${at.reader} lacks an input`) : of(at, match, next));
}

export const any = present((_, match, next) => next(match));

/** An input that may be left out. */
export function optional(of: Pattern): Pattern {
  return (at, match, next) => (at.value === '' ? next(match) : of(at, match, next));
}

/** An input that has to be left out, and what it would be. */
export function absent(what: string): Pattern {
  return ({ value, reader }, match, next) =>
    value === '' ? next(match) : stop(match, `${reader} has ${what}, ${value}`, 'none');
}

/** A value with a name. What has been matched under the name is not matched again. */
export function capture(name: string, of = any): Pattern {
  return (at, match, next) => {
    const known = match.values[name] ?? match.given[name] ?? at.value;
    if (known !== at.value) return stop(match, `${at.reader} is made from ${at.value}`, known);
    const reached = { ...match, steps: match.steps + 1 };
    if (name in match.values) return next(reached);
    return of(at, reached, (one) => next({ ...one, values: { ...one.values, [name]: known } }));
  };
}

/** The first that fits. */
export function oneOf(first: Pattern, ...others: readonly Pattern[]): Pattern {
  return (at, match, next) => {
    let result = first(at, match, next);
    for (const pattern of others) {
      if (result.kind === 'match') break;
      result = further(result, pattern(at, match, next));
    }
    return result;
  };
}

/** Of two that found the same, either was wanted. */
function further(a: Mismatch, b: Match | Mismatch): Match | Mismatch {
  if (b.kind === 'match' || b.steps > a.steps) return b;
  const isSamePlace = a.steps === b.steps && a.found === b.found;
  return isSamePlace ? stop(a, a.found, ...new Set([...a.wanted, ...b.wanted])) : a;
}

/** `of`, which says what an attribute is by being there. */
export function sets(name: string, value: Attribute, of: Pattern): Pattern {
  return (at, match, next) => of(at, match, (one) => withAttribute(one, name, { value, places: [] }, at.value, next));
}

/** `of`, unless there is something against what has been found. */
export function unless(against: (match: Match, index: GraphIndex) => string | undefined, of: Pattern): Pattern {
  return (at, match, next) =>
    of(at, match, (one) => {
      const reason = against(one, at.index);
      return reason === undefined ? next(one) : stop(one, reason);
    });
}

export interface TensorOptions {
  readonly dtypes: readonly DType[];
  readonly rank?: 1 | 2;
}

/** A tensor of the model, with a name. */
export function tensor(name: string, { dtypes, rank }: TensorOptions): Pattern {
  return present(({ index, value }, match, next) => {
    const found = index.initializers.get(value);
    if (found === undefined) return stop(match, `${value} is no tensor of the model`);
    const { dtype, shape } = found.data;
    if (dtypes.includes(dtype) && (rank ?? shape.length) === shape.length)
      return next({ ...match, tensors: { ...match.tensors, [name]: found } });
    const types = dtypes.join(' or ');
    if (rank === undefined) return stop(match, `${found.name} is ${dtype}`, types);
    return stop(match, `${found.name} is ${dtype} [${shape}]`, `a ${types} ${rank === 1 ? 'vector' : 'matrix'}`);
  });
}

/** `of`, where an input of the node at hand is made by another node. Elsewhere `of` has nothing to say. */
export function madeOf(input: number, of: Pattern): Pattern {
  return (at, match, next) => {
    const value = at.index.producer(at.value)?.inputs[input] ?? '';
    return at.index.producer(value) === undefined ? stop(match, `no node makes ${value}`) : of(at, match, next);
  };
}

/** What `write` makes of a value that fits `of`, node by node. */
export function phrase(write: (g: GraphBuilder, x: string) => string, of: Pattern): Pattern {
  const g = new GraphBuilder('');
  const x = 'phrase.x';
  const end = write(g, x);
  const nodes = new Map(g.nodes.map((node) => [node.outputs[0], node]));
  const patternOf = (value: string): Pattern => {
    const node = nodes.get(value);
    if (node === undefined) return of;
    const attributes = Object.entries(node.attributes).map(([name, attribute]) => [name, { among: [attribute] }]);
    const inputs = node.inputs.map(patternOf);
    return op(node.opType, { inputs, attributes: Object.fromEntries(attributes), strict: true });
  };
  return patternOf(end);
}

/** `of`, cast to float32. */
export function widened(of: Pattern): Pattern {
  const cast = op('Cast', { inputs: [of], attributes: { to: { among: [FLOAT] } } });
  return (at, match, next) =>
    at.index.initializers.has(at.value) ? stop(match, `${at.value} is not cast to float32`) : cast(at, match, next);
}

/** What Cast calls float32. */
const FLOAT = attr.int(1);

export interface OpOptions {
  /** In order; there must be no others. The two of an Add or a Mul may stand either way. */
  readonly inputs?: readonly Pattern[];
  /** Names of the outputs after the first, which is the value that is matched; '' is one that must not be made. */
  readonly outputs?: readonly string[];
  /** Those that matter. Others are passed over, unless `strict`. */
  readonly attributes?: Readonly<Record<string, AttributeOptions>>;
  readonly strict?: boolean;
}

export interface AttributeOptions {
  /** Values that fit; without any, a number does. */
  readonly among?: readonly Attribute[];
  /** What a node has that does not say; without it, a node has to. */
  readonly otherwise?: Attribute;
  readonly as?: string;
}

/** A node of ONNX or ONNX Runtime, by the first value that it makes. */
export function op(opType: string, { inputs = [], outputs = [], attributes = {}, strict = false }: OpOptions): Pattern {
  return present(({ index, value }, match, next) => {
    const node = index.producer(value);
    if (node === undefined) return stop(match, `no node makes ${value}`, opType);
    const domain = ['', CONTRIB_DOMAIN].includes(node.domain) ? '' : `${node.domain}.`;
    if (`${domain}${node.opType}` !== opType) return stop(match, `${domain}${node.opType} makes ${value}`, opType);
    if (node.outputs[0] !== value) return stop(match, `${value} is not the first that ${opType} makes`);
    const other = Object.keys(node.attributes).find((name) => strict && !(name in attributes));
    if (other !== undefined) return stop(match, `${opType} makes ${value} with ${other}`, 'none');
    const options = Object.entries(attributes).map(([name, option]) => withOption(node, name, option));
    const steps = [withOutputs(node, outputs), ...options, withInputs(node, inputs, index)];
    return inTurn(steps, withNode(match, node), next);
  });
}

type Step = (match: Match, next: Next) => Match | Mismatch;

function inTurn([step, ...others]: readonly Step[], match: Match, next: Next): Match | Mismatch {
  return step === undefined ? next(match) : step(match, (one) => inTurn(others, one, next));
}

function withOutputs({ opType, outputs }: Node, names: readonly string[]): Step {
  return (match, next) => {
    const values = { ...match.values };
    const other = outputs.find((value, place) => place > 0 && value !== '' && !names[place - 1]);
    if (other !== undefined) return stop(match, `${opType} makes ${other} as well`);
    for (const [place, name] of names.entries()) {
      const value = outputs[place + 1] ?? '';
      const known = values[name] ?? match.given[name] ?? value;
      if (known !== value) return stop(match, `${opType} makes ${value || 'nothing'} as its ${name}`, known);
      if (value !== '') values[name] = value;
    }
    return next({ ...match, values });
  };
}

function withOption(node: Node, name: string, { among, otherwise, as }: AttributeOptions): Step {
  const given = node.attributes[name];
  const value = given ?? otherwise;
  const fits = among?.some((one) => isSame(value, one)) ?? (value?.kind === 'int' || value?.kind === 'float');
  const found = value === undefined ? `no ${name}` : `${name} ${textOf(value)}`;
  const [places, wanted] = [given === undefined ? [] : [[node, name] as const], among?.map(textOf) ?? ['a number']];
  return (match, next) => {
    if (value === undefined || !fits)
      return stop(match, `${node.opType} makes ${node.outputs[0]} with ${found}`, ...wanted);
    return as === undefined ? next(match) : withAttribute(match, as, { value, places }, node.outputs[0], next);
  };
}

function withAttribute(match: Match, name: string, { value, places }: FoundAttribute, at: string, next: Next) {
  const known = match.attributes[name] ?? { value, places: [] };
  if (!isSame(value, known.value)) return stop(match, `${at} has ${name} ${textOf(value)}`, textOf(known.value));
  const found = { value, places: [...known.places, ...places] };
  return next({ ...match, attributes: { ...match.attributes, [name]: found }, steps: match.steps + 1 });
}

function isSame(a: Attribute | undefined, b: Attribute): boolean {
  return a !== undefined && a.kind === b.kind && textOf(a) === textOf(b);
}

function textOf(attribute: Attribute): string {
  if (attribute.kind === 'reference') return attribute.name;
  if (attribute.kind !== 'tensor') return String(attribute.value);
  const { value } = attribute;
  return `${value.dtype} [${value.shape}] of ${value.kind === 'bytes' ? value.bytes : value.kind}`;
}

const COMMUTATIVE = ['Add', 'Mul'];

function withInputs({ opType, inputs, outputs }: Node, patterns: readonly Pattern[], index: GraphIndex): Step {
  const at = { index, value: outputs[0], reader: outputs[0] };
  const other = inputs.slice(patterns.length).find((input) => input !== '');
  const inOrder = (values: readonly string[]): Pattern => {
    const steps = patterns.map((pattern, place): Step => {
      const input = { ...at, value: values[place] ?? '' };
      return (match, next) => pattern(input, match, next);
    });
    return (_, match, next) => inTurn(steps, match, next);
  };
  const either = COMMUTATIVE.includes(opType) ? [inOrder(inputs.toReversed())] : [];
  const all = oneOf(inOrder(inputs), ...either);
  return (match, next) =>
    other === undefined ? all(at, match, next) : stop(match, `${at.value} is made from ${other} as well`);
}

function withNode(match: Match, node: Node): Match {
  const nodes = match.nodes.includes(node) ? match.nodes : [...match.nodes, node];
  return { ...match, nodes, steps: match.steps + 1 };
}

function stop({ steps }: Pick<Match, 'steps'>, found: string, ...wanted: readonly string[]): Mismatch {
  const reason = wanted.length === 0 ? found : `${found}, wanted ${wanted.join(' or ')}`;
  return { kind: 'refused', reason, found, wanted, steps };
}
