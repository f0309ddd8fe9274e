/** Each thing that a block's pattern says, changed in a graph that fits: the block is refused, and the reason names the place. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assemble, openModel } from '../../converters/index.ts';
import { openCheckpoint } from '../../formats/checkpoint.ts';
import { ffnStack } from '../../test/ffn-stack.ts';
import { type Attribute, attr, type Graph, type Node } from '../core/graph.ts';
import { value } from '../core/graph-builder.ts';
import { choosePrecision } from '../core/precision.ts';
import type { TensorExpr } from '../core/tensor.ts';
import { indexGraph } from './graph-index.ts';
import { fuseSkipNorms } from './index.ts';
import { matchFfn } from './match-ffn.ts';
import { matchPart, PARTS } from './match-parts.ts';

const fixtures = join(import.meta.dirname, '../../fixtures');

async function fixture(name: string, options: object): Promise<Graph> {
  const checkpoint = await openCheckpoint(join(fixtures, name));
  return fuseSkipNorms(assemble(openModel(checkpoint, { precision: choosePrecision('int4', options) })));
}

/** The nodes of a block that is found in a graph, or why it is not. */
type Find = (graph: Graph) => readonly Node[] | string;

const sparseFfn: Find = (graph) => {
  const found = matchFfn(indexGraph(graph), 0);
  return found.kind === 'match' ? found.nodes : found.reason;
};

/** The last part of its kind in the graph as it is; then what is around the node of that name. */
function lastPart(original: Graph, operator: string): Find {
  const [wanted] = PARTS.filter((one) => one.operator === operator);
  const around = (graph: Graph, node: Node) => matchPart(indexGraph(graph), wanted, node);
  const middle = original.nodes.findLast(
    (node) => node.opType === wanted.middle && around(original, node).kind === 'match',
  );
  return (graph) => {
    const node = graph.nodes.find(({ name }) => name === middle?.name);
    const found = node && around(graph, node);
    return found?.kind === 'match' ? found.lifted.nodes : (found?.reason ?? '');
  };
}

interface Change {
  readonly what: string;
  readonly graph: Graph;
  /** What a reason may name. */
  readonly names: readonly string[];
}

/** Every change of one thing about a node. */
function changesOf(graph: Graph, node: Node): Change[] {
  const names = [...node.outputs, ...node.inputs, 'elsewhere', 'more'].filter((name) => name !== '');
  const edit = (what: string, edited: Partial<Node>): Change => ({
    what: `${node.opType} ${what}`,
    graph: { ...graph, nodes: graph.nodes.map((one) => (one === node ? { ...node, ...edited } : one)) },
    names,
  });
  const OTHER: Attribute = attr.string('other');
  return [
    edit('operator', { opType: 'Other' }),
    edit('domain', { domain: 'foreign' }),
    edit('input more', { inputs: [...node.inputs, ...new Array(9).fill(''), 'elsewhere'] }),
    edit('output more', { outputs: [...node.outputs, ...new Array(4).fill(''), 'more'] }),
    ...node.inputs.flatMap((input, at) =>
      input === ''
        ? []
        : [
            edit(`input ${at}`, { inputs: node.inputs.with(at, 'elsewhere') }),
            edit(`input ${at} gone`, { inputs: node.inputs.with(at, '') }),
          ],
    ),
    ...Object.keys(node.attributes).map((name) => edit(name, { attributes: { ...node.attributes, [name]: OTHER } })),
    ...node.outputs.filter((name) => name !== '').flatMap((name, at) => readElsewhere(graph, node, name, at)),
    ...graph.initializers
      .filter(({ name }) => node.inputs.includes(name))
      .flatMap(({ name, data }) => {
        const become = (what: string, other: Partial<TensorExpr>): Change => ({
          what: `${node.opType} tensor ${what}`,
          graph: {
            ...graph,
            initializers: graph.initializers.map((one) =>
              one.name === name ? { name, data: { ...data, ...other } as TensorExpr } : one,
            ),
          },
          names: [name],
        });
        return [become('type', { dtype: 'float64' }), become('shape', { shape: [...data.shape, 3] })];
      }),
  ];
}

/** The same graph where something else reads a value too, and where the value is an output. */
function readElsewhere(graph: Graph, { opType }: Node, name: string, at: number): Change[] {
  const reader: Node = { name: 'outside', opType: 'Neg', domain: '', inputs: [name], outputs: ['o'], attributes: {} };
  return [
    { what: `${opType} output ${at} read`, graph: { ...graph, nodes: [...graph.nodes, reader] }, names: [name] },
    {
      what: `${opType} output ${at} given`,
      graph: { ...graph, outputs: [...graph.outputs, value(name, 'float32', [])] },
      names: [name],
    },
  ];
}

/** What may change without the block being refused: the block is then the same, or smaller by what changed. */
function harmless(graph: Graph, find: Find) {
  const block = find(graph);
  if (typeof block === 'string') throw new Error(block);
  const same = new Set<string>();
  const smaller = new Set<string>();
  for (const { what, graph: changed, names } of block.flatMap((node) => changesOf(graph, node))) {
    const found = find(changed);
    if (typeof found === 'string')
      expect(
        names.some((name) => found.includes(name)),
        `${what}: ${found}`,
      ).toBe(true);
    else (found.length === block.length ? same : smaller).add(what);
  }
  return { same: [...same].sort(), smaller: [...smaller].sort() };
}

/** A block may read another stream and leave its sum to others. */
const STREAM = ['input 0', 'input 1', 'output 1 given', 'output 1 read'].map(
  (what) => `SkipSimplifiedLayerNormalization ${what}`,
);
/** How weights in blocks lie in memory is checked by whoever opens the model. */
const STORED = ['Cast tensor shape', 'MatMulNBits accuracy_level', 'MatMulNBits tensor shape'];
const NORMED = ['SimplifiedLayerNormalization stash_type'];
const CACHE = [
  ...[4, 5, 6, 7, 8].map((at) => `input ${at}`),
  ...[1, 2].flatMap((at) => [`output ${at} given`, `output ${at} read`]),
  'tensor shape',
  'tensor type',
].map((what) => `GroupQueryAttention ${what}`);
const openEnd = (opType: string) => [`${opType} output 0 given`, `${opType} output 0 read`];

describe('a change of one thing in a block', () => {
  it.each<[block: string, fixture: string, options: object, same: readonly string[], smaller: readonly string[]]>([
    [
      'sparse-ffn',
      'stack',
      {},
      [...STREAM, ...NORMED, ...openEnd('SimplifiedLayerNormalization')],
      ['SkipSimplifiedLayerNormalization'],
    ],
    [
      'sparse-ffn',
      'llama-variants/mlp-bias',
      {},
      [...STREAM, ...STORED, ...openEnd('Add')],
      ['SkipSimplifiedLayerNormalization'],
    ],
    ['GatedFFN', 'llama-variants/mlp-bias', {}, [...STREAM, ...STORED, ...openEnd('Add')], ['Add', 'MatMulNBits']],
    [
      'GatedFFN',
      'gemma-variants/gemma3-pattern',
      {},
      [...STREAM, ...STORED, ...NORMED, ...openEnd('SimplifiedLayerNormalization')],
      ['MatMulNBits', 'SimplifiedLayerNormalization'],
    ],
    [
      'NormAttention',
      'llama-variants/attention-bias',
      { asymmetric: true },
      [...STREAM, ...STORED, ...CACHE, 'MatMulNBits input 3 gone', ...openEnd('Add')],
      ['Add', 'MatMulNBits'],
    ],
    [
      'NormAttention',
      'gemma-variants/gemma3-pattern',
      {},
      [...STREAM, ...STORED, ...CACHE, ...NORMED, 'Constant value', ...openEnd('SimplifiedLayerNormalization')],
      ['MatMulNBits', 'SimplifiedLayerNormalization'],
    ],
    [
      'NormProduct',
      'gemma-variants/gemma2-softcap',
      {},
      [...STREAM.slice(0, 2), ...STORED, ...openEnd('Mul')],
      ['Constant', 'Div', 'MatMulNBits', 'Mul', 'Tanh'],
    ],
  ])(
    'is refused by %s of %s and named, or leaves a smaller block without it',
    async (block, name, options, same, smaller) => {
      const graph =
        name === 'stack'
          ? fuseSkipNorms(ffnStack({ layers: 1, bias: true, postNorm: true }))
          : await fixture(name, options);
      const found = harmless(graph, block === 'sparse-ffn' ? sparseFfn : lastPart(graph, block));
      expect(found.same).toEqual([...same].sort());
      expect([...new Set(found.smaller.map((what) => what.split(' ')[0]))]).toEqual(smaller);
    },
  );

  it.each([
    ['sparse-ffn', 'llama-variants/mlp-bias'],
    ['NormAttention', 'llama-variants/attention-bias'],
    ['GatedFFN', 'llama-variants/mlp-bias'],
    ['NormProduct', 'gemma-variants/gemma2-softcap'],
  ])('%s is the same with the operands of every Add and Mul the other way round', async (block, name) => {
    const graph = await fixture(name, {});
    const nodes = graph.nodes.map((node) =>
      ['Add', 'Mul'].includes(node.opType) ? { ...node, inputs: node.inputs.toReversed() } : node,
    );
    const namesOf = (one: Graph) => {
      const found = (block === 'sparse-ffn' ? sparseFfn : lastPart(one, block))(one);
      return typeof found === 'string' ? found : found.map((node) => node.name);
    };
    expect(namesOf({ ...graph, nodes })).toEqual(namesOf(graph));
    expect(namesOf(graph)).toBeInstanceOf(Array);
  });
});

/** `block`, with an attribute of its first node of a type set to another value. */
function withAttribute(graph: Graph, find: Find, opType: string, name: string, value: Attribute): string {
  const block = find(graph);
  if (typeof block === 'string') throw new Error(block);
  const changed = block.find((node) => node.opType === opType);
  const nodes = graph.nodes.map((node) =>
    node === changed ? { ...node, attributes: { ...node.attributes, [name]: value } } : node,
  );
  const found = find({ ...graph, nodes });
  return typeof found === 'string' ? found : 'found';
}

it.each([
  ['NormAttention', 'GroupQueryAttention', 'do_rotary', attr.int(0), 'with do_rotary 0, wanted 1'],
  ['NormAttention', 'GroupQueryAttention', 'rotary_interleaved', attr.int(1), 'with rotary_interleaved 1, wanted 0'],
  ['NormAttention', 'GroupQueryAttention', 'smooth_softmax', attr.int(1), 'with smooth_softmax, wanted none'],
  ['NormAttention', 'GroupQueryAttention', 'num_heads', attr.int(3), 'found'],
  ['NormAttention', 'MatMulNBits', 'bits', attr.int(2), 'with bits 2, wanted 4 or 8'],
  ['NormAttention', 'MatMulNBits', 'bits', attr.int(8), 'has bits 8, wanted 4'],
  ['NormAttention', 'Cast', 'to', attr.int(10), 'with to 10, wanted 1'],
  ['sparse-ffn', 'FusedMatMul', 'transA', attr.int(1), 'with transA 1, wanted 0'],
  ['sparse-ffn', 'FusedMatMul', 'alpha', attr.float(2), 'with alpha 2, wanted 1'],
  ['sparse-ffn', 'FusedMatMul', 'alpha', attr.float(1), 'found'],
  ['sparse-ffn', 'SimplifiedLayerNormalization', 'axis', attr.int(1), 'with axis 1, wanted -1'],
])('%s: %s says why it is not taken with %s %j', async (block, opType, name, value, reason) => {
  const isFfn = block === 'sparse-ffn';
  const graph = isFfn
    ? fuseSkipNorms(ffnStack({ layers: 1, bias: true, postNorm: true }))
    : await fixture('llama-variants/attention-bias', {});
  const find = isFfn ? sparseFfn : lastPart(graph, block);
  expect(withAttribute(graph, find, opType, name, value)).toMatch(new RegExp(`${reason}$`));
});

it('a QuickGelu is silu where its alpha is 1, and a bias is one where it has as many entries as its product', () => {
  const graph = ffnStack({ layers: 1, activation: 'silu', bias: true });
  const slow = withAttribute(graph, sparseFfn, 'QuickGelu', 'alpha', attr.float(1.5));
  expect(slow).toBe('QuickGelu makes layers.0.act with alpha 1.5, wanted 1');
  const initializers = graph.initializers.map((one) =>
    one.name.endsWith('up_proj.bias') ? { ...one, data: { ...one.data, shape: [1] } } : one,
  );
  const found = sparseFfn({ ...graph, initializers });
  expect(found).toBe('model.layers.0.mlp.up_proj.bias is no bias of 24 rows');
});

describe('a variation of a block', () => {
  it('may have a bias on query, key and value alone', async () => {
    const graph = await fixture('llama-variants/attention-bias', {});
    const unbiased = graph.nodes.flatMap((node): Node[] => {
      const adder = graph.nodes.find(
        ({ inputs }) => inputs[0] === node.outputs[0] && inputs[1]?.endsWith('o_proj.bias'),
      );
      if (adder !== undefined) return [{ ...node, outputs: adder.outputs }];
      return node.inputs[1]?.endsWith('o_proj.bias') ? [] : [node];
    });
    const find = lastPart(graph, 'NormAttention');
    const [before, after] = [find(graph), find({ ...graph, nodes: unbiased })];
    expect(unbiased).toHaveLength(graph.nodes.length - 2);
    expect(after).toHaveLength(before.length - 1);
    expect(after).toContainEqual(expect.objectContaining({ opType: 'Add' }));
  });
});
