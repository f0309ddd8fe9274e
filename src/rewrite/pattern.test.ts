import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Attribute, attr, BASE_OPSETS, CONTRIB_DOMAIN, type Graph, type Node } from '../core/graph.ts';
import { GraphBuilder, type OpOptions, value } from '../core/graph-builder.ts';
import { float32Tensor } from '../core/tensor.ts';
import { indexGraph } from './graph-index.ts';
import {
  absent,
  any,
  capture,
  matchPattern,
  oneOf,
  op,
  optional,
  type Pattern,
  sets,
  tensor,
  unless,
  widened,
} from './pattern.ts';

const X = value('x', 'float32', ['n']);
const WIDE = { dtypes: ['float32'], rank: 1 } as const;

function graphOf(write: (g: GraphBuilder) => void, outputs = ['y']): Graph {
  const g = new GraphBuilder('g');
  g.initializer('w', float32Tensor([1, 2]));
  write(g);
  const body = g.body(
    'g',
    [X, value('z', 'float32', ['n'])],
    outputs.map((name) => value(name, 'float32', ['n'])),
  );
  return { ...body, functions: [], opsets: BASE_OPSETS, metadata: {} };
}

const search = (graph: Graph, pattern: Pattern, given = {}, open: string[] = []) =>
  matchPattern(indexGraph(graph), pattern, { from: ['y'], given, open });

/** y = opType(inputs), beside s = Sigmoid(x). */
const single = (opType: string, inputs: readonly string[], options: OpOptions = {}) =>
  graphOf((g) => {
    g.op('Sigmoid', ['x'], { outputs: ['s'] });
    g.op(opType, inputs, { outputs: ['y'], ...options });
  });

const relu = op('Relu', { inputs: [capture('in')] });
const k = (among: readonly number[] | undefined, rest = {}) =>
  op('Relu', { inputs: [any], attributes: { k: { ...(among && { among: among.map(attr.int) }), ...rest } } });
const withK = (given: Attribute) => single('Relu', ['x'], { attributes: { k: given } });

describe('a pattern', () => {
  it('names values, tensors and attributes, and lists nodes from the end backwards', () => {
    const graph = graphOf((g) => {
      g.op('Relu', ['x'], { outputs: ['r'], attributes: { k: attr.int(3) } });
      g.op('Add', ['r', 'w'], { outputs: ['y'] });
    });
    const inner = op('Relu', { inputs: [capture('in')], attributes: { k: { as: 'size' } } });
    const match = search(graph, op('Add', { inputs: [capture('mid', inner), tensor('bias', WIDE)] }));
    const [first, last] = graph.nodes;
    expect(match).toMatchObject({
      kind: 'match',
      values: { in: 'x', mid: 'r', y: 'y' },
      tensors: { bias: { name: 'w' } },
      attributes: { size: { value: attr.int(3), places: [[first, 'k']] } },
    });
    expect(match).toHaveProperty('nodes', [last, first]);
  });

  it('takes along the Cast to float32 that a widened tensor is read through', () => {
    const graph = graphOf((g) => {
      g.op('Cast', ['w'], { outputs: ['wide'], attributes: { to: attr.int(1) } });
      g.op('Relu', ['wide'], { outputs: ['y'] });
    });
    const match = search(graph, op('Relu', { inputs: [widened(tensor('t', WIDE))] }));
    expect(match).toMatchObject({ kind: 'match', tensors: { t: { name: 'w' } }, nodes: [{}, { opType: 'Cast' }] });
  });

  it('has what an alternative sets, at no node', () => {
    const match = search(
      single('Tanh', ['x']),
      oneOf(relu, sets('bent', attr.string('tanh'), op('Tanh', { inputs: [any] }))),
    );
    expect(match).toMatchObject({ attributes: { bent: { value: attr.string('tanh'), places: [] } } });
  });

  it('starts from the first value that fits', () => {
    const index = indexGraph(single('Tanh', ['s']));
    const match = matchPattern(index, op('Sigmoid', { inputs: [any] }), { from: ['y', 's'] });
    expect(match).toMatchObject({ kind: 'match', values: { y: 's' } });
  });

  it('takes an optional input that is there, and one that is not', () => {
    const pattern = op('Clip', { inputs: [any, optional(op('Sigmoid', { inputs: [any] })), optional(any)] });
    for (const inputs of [['x'], ['x', 's'], ['x', '', 'z'], ['x', 's', 'z']])
      expect(search(single('Clip', inputs), pattern).kind).toBe('match');
    expect(search(single('Clip', ['x', 'z']), pattern)).toMatchObject({ reason: 'no node makes z, wanted Sigmoid' });
  });

  it('lets others read what is open', () => {
    const graph = graphOf((g) => {
      g.op('Relu', ['x'], { outputs: ['r'] });
      g.op('Tanh', ['r'], { outputs: ['y'] });
      g.op('Neg', ['r'], { outputs: ['other'] });
    });
    const pattern = op('Tanh', { inputs: [capture('mid', op('Relu', { inputs: [any] }))] });
    expect(search(graph, pattern, {}, ['mid']).kind).toBe('match');
    expect(search(graph, pattern)).toMatchObject({ reason: 'r is read by g.node.Neg too' });
  });

  const product = (w: Partial<Parameters<typeof tensor>[1]>) =>
    op('Mul', { inputs: [capture('a', op('Sigmoid', { inputs: [any] })), tensor('w', { ...WIDE, ...w })] });
  const pair = op('Split', { inputs: [any], outputs: ['second'] });
  const named = (as: string, of: Pattern) => op('Relu', { inputs: [of], attributes: { k: { as } } });
  const twoSizes = graphOf((g) => {
    g.op('Relu', ['x'], { outputs: ['r'], attributes: { k: attr.int(4) } });
    g.op('Relu', ['r'], { outputs: ['y'], attributes: { k: attr.int(3) } });
  });
  const fromSecond = graphOf((g) => {
    g.ops('Split', ['x'], { outputs: ['first', 'second'] });
    g.op('Relu', ['second'], { outputs: ['y'] });
  });
  it.each<[string, Graph, Pattern, Record<string, string>?]>([
    ['Tanh makes y, wanted Relu', single('Tanh', ['x']), relu],
    ['foreign.Relu makes y, wanted Relu', single('Relu', ['x'], { domain: 'foreign' }), relu],
    ['Tanh makes y, wanted Relu or Gelu', single('Tanh', ['x']), oneOf(relu, op('Gelu', {}), relu)],
    ['no node makes x, wanted Relu', single('Relu', ['x']), op('Relu', { inputs: [relu] })],
    ['y lacks an input', single('Relu', ['']), op('Relu', { inputs: [relu] })],
    ['y lacks an input', single('Relu', ['']), relu],
    ['y lacks an input', single('Relu', []), relu],
    ['y is made from x as well', single('Relu', ['s', 'x']), relu],
    ['y is made from x, wanted s', single('Relu', ['x']), relu, { in: 's' }],
    ['y is made from x, wanted s', single('Sub', ['s', 'x']), op('Sub', { inputs: [capture('in'), capture('in')] })],
    [
      'y has zero points, s, wanted none',
      single('Relu', ['x', 's']),
      op('Relu', { inputs: [any, absent('zero points')] }),
    ],
    ['second is not the first that Split makes', fromSecond, op('Relu', { inputs: [pair] })],
    ['Relu makes y with no k, wanted 1 or 2', single('Relu', ['x']), k([1, 2])],
    ['Relu makes y with no k, wanted a number', single('Relu', ['x']), k(undefined, { as: 'k' })],
    ['Relu makes y with k 3, wanted 1 or 2', withK(attr.int(3)), k([1, 2])],
    ['Relu makes y with k 1, wanted 1', withK(attr.float(1)), k([1])],
    ['Relu makes y with k text, wanted a number', withK(attr.string('text')), k(undefined, { as: 'k' })],
    ['Relu makes y with k, wanted none', withK(attr.int(1)), op('Relu', { inputs: [any], strict: true })],
    ['r has size 4, wanted 3', twoSizes, named('size', named('size', any))],
    [
      'Split makes second as well',
      single('Split', ['x'], { outputs: ['y', 'second'] }),
      op('Split', { inputs: [any] }),
    ],
    [
      'Split makes second as its second, wanted s',
      single('Split', ['x'], { outputs: ['y', 'second'] }),
      pair,
      { second: 's' },
    ],
    ['Split makes nothing as its second, wanted s', single('Split', ['x']), pair, { second: 's' }],
    ['x is no tensor of the model', single('Mul', ['s', 'x']), product({})],
    [
      'w is float32 [2], wanted a float16 or bfloat16 vector',
      single('Mul', ['s', 'w']),
      product({ dtypes: ['float16', 'bfloat16'] }),
    ],
    ['w is float32 [2], wanted a float32 matrix', single('Mul', ['s', 'w']), product({ rank: 2 })],
    ['w is not cast to float32', single('Relu', ['w']), op('Relu', { inputs: [widened(tensor('w', WIDE))] })],
    ['Sigmoid makes s, wanted Cast', single('Relu', ['s']), op('Relu', { inputs: [widened(tensor('w', WIDE))] })],
    ['no', single('Relu', ['x']), unless((match) => (match.values.in === 'x' ? 'no' : undefined), relu)],
  ])('says where it stopped: %s', (reason, graph, pattern, given) => {
    expect(search(graph, pattern, given)).toMatchObject({ kind: 'refused', reason });
  });
});

/** One node: its operator, the values before it that it reads, and its attribute. */
interface Recipe {
  readonly opType: 'Add' | 'Mul' | 'Sub' | 'Relu';
  readonly reads: readonly [number, number];
  readonly k: number;
}

const recipes = (opTypes: readonly Recipe['opType'][]) =>
  fc.array(
    fc.record({
      opType: fc.constantFrom(...opTypes),
      reads: fc.tuple(fc.nat(20), fc.nat(20)),
      k: fc.nat(2),
    }),
    { minLength: 1, maxLength: 9 },
  );

const LEAVES = ['x', 'z', 'w'];

/** The nodes that the last of them is made of. */
function randomGraph(recipe: readonly Recipe[]): Graph {
  const names = [...LEAVES, ...recipe.map((_, place) => (place === recipe.length - 1 ? 'y' : `v${place}`))];
  const nodes = recipe.map(({ opType, reads, k: size }, place): Node => {
    const inputs = reads.slice(0, opType === 'Relu' ? 1 : 2).map((read) => names[read % (LEAVES.length + place)]);
    const output = names[LEAVES.length + place];
    return { name: `make ${output}`, opType, domain: '', inputs, outputs: [output], attributes: { k: attr.int(size) } };
  });
  const used = new Set(['y']);
  const kept = nodes.toReversed().filter(({ outputs, inputs }) => {
    const isUsed = used.has(outputs[0]);
    if (isUsed) for (const input of inputs) used.add(input);
    return isUsed;
  });
  return { ...graphOf(() => {}), nodes: kept.toReversed() };
}

/** What makes `name` in a graph, each value under its own name. */
function patternOf(graph: Graph, name: string): Pattern {
  const node = graph.nodes.find(({ outputs }) => outputs[0] === name);
  if (node === undefined) return capture(name, name === 'w' ? tensor('w', WIDE) : any);
  const inputs = node.inputs.map((input) => patternOf(graph, input));
  return capture(name, op(node.opType, { inputs, attributes: { k: { among: [node.attributes.k] } } }));
}

/** What a value is computed as, from the leaves on. */
function expressionOf(graph: Graph, name: string): string {
  const node = graph.nodes.find(({ outputs }) => outputs[0] === name);
  if (node === undefined) return name;
  const inputs = node.inputs.map((input) => expressionOf(graph, input));
  return `${node.opType}${JSON.stringify(node.attributes.k)}(${inputs.join()})`;
}

const KNOWN = Object.fromEntries(LEAVES.map((name) => [name, name]));
const edited = (graph: Graph, place: number, edit: (node: Node) => Node): Graph => ({
  ...graph,
  nodes: graph.nodes.map((node, at) => (at === place % graph.nodes.length ? edit(node) : node)),
});

const COMMUTATIVE = ['Add', 'Mul', 'Relu'] as const;
const ALL = [...COMMUTATIVE, 'Sub'] as const;
const ORDERED = ['Sub', 'Relu'] as const;

const EDITS: Readonly<Record<string, (node: Node) => Node>> = {
  'another operator': (node) => ({ ...node, opType: 'Neg' }),
  'another domain': (node) => ({ ...node, domain: 'foreign' }),
  'another attribute': (node) => ({ ...node, attributes: { k: attr.int(7) } }),
  'no attribute': (node) => ({ ...node, attributes: {} }),
  'an input more': (node) => ({ ...node, inputs: [...node.inputs, 'x'] }),
  'an output more': (node) => ({ ...node, outputs: [...node.outputs, 'more'] }),
};

describe('on random graphs, a pattern that is written from the graph', () => {
  it('matches it whole, each name its value', () => {
    fc.assert(
      fc.property(recipes(ALL), (recipe) => {
        const graph = randomGraph(recipe);
        const match = search(graph, patternOf(graph, 'y'), KNOWN);
        if (match.kind === 'refused') throw new Error(match.reason);
        for (const [name, found] of Object.entries(match.values)) expect(found).toBe(name);
        expect(new Set(match.nodes)).toEqual(new Set(graph.nodes));
        expect(match.nodes).toHaveLength(graph.nodes.length);
      }),
    );
  });

  it('matches it with the operands of any Add and Mul the other way round, and with no other', () => {
    fc.assert(
      fc.property(recipes(ALL), fc.array(fc.boolean(), { minLength: 9, maxLength: 9 }), (recipe, isSwapped) => {
        const graph = randomGraph(recipe);
        const pattern = patternOf(graph, 'y');
        const turned = (opTypes: readonly string[]): Graph => ({
          ...graph,
          nodes: graph.nodes.map((node, place) =>
            isSwapped[place] && opTypes.includes(node.opType) ? { ...node, inputs: node.inputs.toReversed() } : node,
          ),
        });
        const match = search(turned(['Add', 'Mul']), pattern, KNOWN);
        expect(match).toMatchObject({ kind: 'match' });
        const other = turned(['Sub']);
        // Turning nodes may give the same again: where both operands are computed alike, or by turning two levels.
        const isOther = expressionOf(other, 'y') !== expressionOf(graph, 'y');
        if (isOther && !recipe.some(({ opType }) => opType === 'Add' || opType === 'Mul'))
          expect(search(other, pattern, KNOWN).kind).toBe('refused');
      }),
    );
  });

  it.each(Object.entries(EDITS))('refuses it with %s in one node', (_, edit) => {
    fc.assert(
      fc.property(recipes(ALL), fc.nat(8), (recipe, place) => {
        const graph = randomGraph(recipe);
        expect(search(edited(graph, place, edit), patternOf(graph, 'y'), KNOWN).kind).toBe('refused');
      }),
    );
  });

  it.each(Object.entries(EDITS))('says at which node it stopped, where nothing can be turned: %s', (_, edit) => {
    fc.assert(
      fc.property(recipes(ORDERED), fc.nat(8), (recipe, place) => {
        const graph = randomGraph(recipe);
        const { outputs, opType } = graph.nodes[place % graph.nodes.length];
        const result = search(edited(graph, place, edit), patternOf(graph, 'y'), KNOWN);
        const reason = result.kind === 'refused' ? result.reason : '';
        expect(reason.includes(outputs[0]) || reason === `${opType} makes more as well`, reason).toBe(true);
      }),
    );
  });

  it('refuses it where a value in between is read from outside or is an output, and names it', () => {
    fc.assert(
      fc.property(recipes(ALL), fc.nat(8), fc.boolean(), (recipe, place, isRead) => {
        const graph = randomGraph(recipe);
        const [name] = graph.nodes[place % graph.nodes.length].outputs;
        const reader: Node = {
          name: 'outside',
          opType: 'Neg',
          domain: CONTRIB_DOMAIN,
          inputs: [name],
          outputs: ['o'],
          attributes: {},
        };
        const spoiled = isRead
          ? { ...graph, nodes: [...graph.nodes, reader] }
          : { ...graph, outputs: [...graph.outputs, value(name, 'float32', ['n'])] };
        const reason = isRead ? `${name} is read by outside too` : `${name} is an output of the model`;
        const wanted = name === 'y' ? { kind: 'match' } : { kind: 'refused', reason };
        expect(search(spoiled, patternOf(graph, 'y'), KNOWN)).toMatchObject(wanted);
      }),
    );
  });
});
