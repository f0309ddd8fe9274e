import { describe, expect, it } from 'vitest';
import { ffnStack, HIDDEN } from '../../test/ffn-stack.ts';
import { seededFloats } from '../../test/random.ts';
import { floats, numbers, openGraph } from '../../test/run-body.ts';
import { expectWithin } from '../../test/within.ts';
import { attr, BASE_OPSETS, type Graph } from '../core/graph.ts';
import { GraphBuilder, value } from '../core/graph-builder.ts';
import { float32Tensor } from '../core/tensor.ts';
import { fuseSkipNorm } from './fuse-skip-norm.ts';

async function run(graph: Graph, outputs: readonly string[]) {
  const stream = ['batch_size', 'sequence_length', HIDDEN];
  const runner = await openGraph({ ...graph, outputs: outputs.map((name) => value(name, 'float32', stream)) });
  const positions = { dtype: 'int64', dims: [2, 3], data: new BigInt64Array(6) } as const;
  const results = await runner.run({ 'hidden.0': floats(seededFloats(1)(6 * HIDDEN), [2, 3, HIDDEN]), positions });
  await runner.close();
  return outputs.map((name) => numbers(results[name]));
}

/** x, y -> sum -> normed, as `write` has it. */
function small(
  write: (g: GraphBuilder) => void,
  shapes: readonly (readonly (number | string)[])[] = [
    ['b', 's', 4],
    ['b', 's', 4],
  ],
): Graph {
  const g = new GraphBuilder('small');
  g.initializer('weight', float32Tensor([1, 1, 1, 1]));
  write(g);
  const inputs = [value('x', 'float32', shapes[0]), value('y', 'float32', shapes[1])];
  return {
    ...g.body('small', inputs, [value('normed', 'float32', ['b', 's', 4])]),
    functions: [],
    opsets: BASE_OPSETS,
    metadata: {},
  };
}

const norm = (g: GraphBuilder, sum: string, axis = -1, output = 'normed') =>
  g.op('SimplifiedLayerNormalization', [sum, 'weight'], {
    attributes: { axis: attr.int(axis), epsilon: attr.float(1e-5) },
    outputs: [output],
  });

describe('fuse-skip-norm', () => {
  it('fuses within layers, across their borders and before the head, under the old names', async () => {
    const dense = ffnStack({ layers: 2 });
    const { graph, report } = fuseSkipNorm.apply(dense, undefined);
    expect(report.filter(({ applied }) => applied).map(({ block }) => block)).toEqual([
      'layers.0.ffn_residual',
      'hidden.1',
      'layers.1.ffn_residual',
      'hidden.2',
    ]);
    expect(report.filter(({ applied }) => !applied)).toEqual([
      { rule: 'fuse-skip-norm', block: 'hidden.0', applied: false, reason: 'a graph input is normed' },
    ]);
    const fused = graph.nodes.filter(({ opType }) => opType === 'SkipSimplifiedLayerNormalization');
    expect(fused.map(({ outputs }) => outputs)).toEqual([
      ['layers.0.ffn_in', '', '', 'layers.0.ffn_residual'],
      ['layers.1.attn_in', '', '', 'hidden.1'],
      ['layers.1.ffn_in', '', '', 'layers.1.ffn_residual'],
      ['out', '', '', 'hidden.2'],
    ]);
    expect(graph.nodes.filter(({ opType }) => opType === 'Add')).toEqual([]);
    const names = ['out', 'hidden.1', 'layers.1.ffn_residual'];
    const [wanted, got] = [await run(dense, names), await run(graph, names)];
    // The same float32 sum is normed; only the order in which its squares are added may differ: HIDDEN * eps relative,
    // through one FFN and one norm at most, on values below 100.
    expectWithin(got.flat(), wanted.flat(), 100 * 4 * HIDDEN * 2 ** -23);
  });

  it('keeps biases out of it, and fuses after them', () => {
    const { report } = fuseSkipNorm.apply(ffnStack({ layers: 1, bias: true, postNorm: true }), undefined);
    expect(report.map(({ block, applied }) => [block, applied])).toEqual([
      ['hidden.0', false],
      ['layers.0.ffn_residual', true],
      ['stack.down', false],
      ['hidden.1', true],
    ]);
    expect(report[2].reason).toBe('Add broadcasts model.layers.0.mlp.down_proj.bias');
  });

  it.each<[string, Graph, number]>([
    [
      'rows alone',
      small(
        (g) => norm(g, g.op('Add', ['x', 'y'])),
        [
          ['n', 4],
          ['n', 4],
        ],
      ),
      1e-5,
    ],
    ['the last axis by its number', small((g) => norm(g, g.op('Add', ['x', 'y']), 2)), 1e-5],
    [
      'another epsilon',
      small((g) =>
        g.op('SimplifiedLayerNormalization', [g.op('Add', ['x', 'y']), 'weight'], {
          attributes: { epsilon: attr.float(0.5) },
          outputs: ['normed'],
        }),
      ),
      0.5,
    ],
    [
      'the operator’s own epsilon, which the fused one would take otherwise',
      small((g) => g.op('SimplifiedLayerNormalization', [g.op('Add', ['x', 'y']), 'weight'], { outputs: ['normed'] })),
      1e-5,
    ],
  ])('fuses %s', (_, graph, epsilon) => {
    const { nodes } = fuseSkipNorm.apply(graph, undefined).graph;
    expect(nodes).toHaveLength(1);
    expect(nodes[0]).toMatchObject({
      opType: 'SkipSimplifiedLayerNormalization',
      domain: 'com.microsoft',
      inputs: ['x', 'y', 'weight'],
      attributes: { epsilon: { kind: 'float', value: epsilon } },
    });
    expect(nodes[0].outputs[0]).toBe('normed');
  });

  it.each<[string, Graph]>([
    [
      'the norm has more than one output',
      small((g) => {
        const outputs = ['normed', 'deviation'];
        g.ops('SimplifiedLayerNormalization', [g.op('Add', ['x', 'y']), 'weight'], { outputs });
      }),
    ],
    ['x has 1 dimensions, wanted 2 or 3', small((g) => norm(g, g.op('Add', ['x', 'y'])), [[4], [4]])],
    [
      'x and y are not known to have one shape',
      small(
        (g) => norm(g, g.op('Add', ['x', 'y'])),
        [
          ['b', 's', 4],
          ['b', 1, 4],
        ],
      ),
    ],
    [
      'x has 4 dimensions, wanted 2 or 3',
      small(
        (g) => norm(g, g.op('Add', ['x', 'y'])),
        [
          ['b', 1, 's', 4],
          ['b', 1, 's', 4],
        ],
      ),
    ],
    ['the norm is over axis 1', small((g) => norm(g, g.op('Add', ['x', 'y']), 1))],
    ['Mul is normed, wanted Add', small((g) => norm(g, g.op('Mul', ['x', 'y'])))],
    [
      "the norm's weight scale is computed",
      small((g) => {
        g.op('Identity', ['weight'], { outputs: ['scale'] });
        g.op('SimplifiedLayerNormalization', [g.op('Add', ['x', 'y']), 'scale'], { outputs: ['normed'] });
      }),
    ],
  ])('refuses: %s', (reason, graph) => {
    const result = fuseSkipNorm.apply(graph, undefined);
    expect(result.report).toEqual([expect.objectContaining({ applied: false, reason })]);
    expect(result.graph.nodes).toEqual(graph.nodes);
  });

  it('fuses a sum that is normed twice only once', () => {
    const graph = small((g) => {
      const sum = g.op('Add', ['x', 'y']);
      norm(g, sum);
      norm(g, sum, -1, 'again');
    });
    const { report } = fuseSkipNorm.apply(graph, undefined);
    expect(report.map(({ applied, reason }) => [applied, reason])).toEqual([
      [true, 'one operator in place of two'],
      [false, 'the sum is normed a second time'],
    ]);
  });
});
