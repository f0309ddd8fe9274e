import { expect, it } from 'vitest';
import { attr, BASE_OPSETS, type Graph } from '../core/graph.ts';
import { GraphBuilder, value } from '../core/graph-builder.ts';
import { float32Tensor } from '../core/tensor.ts';
import { dropUnread } from './drop-unread.ts';

it('drops chains that end nowhere, with their weights, and keeps what an output needs', () => {
  const g = new GraphBuilder('small');
  const shared = g.op('Neg', ['x'], { outputs: ['shared'] });
  g.op('Add', [shared, g.initializer('used', float32Tensor([1]))], { outputs: ['y'] });
  const lost = g.op('Mul', [shared, g.initializer('unused', float32Tensor([2]))]);
  g.op('Abs', [lost], { outputs: ['nowhere'] });
  const body = g.body('small', [value('x', 'float32', ['n'])], [value('y', 'float32', ['n'])]);
  const graph: Graph = { ...body, functions: [], opsets: BASE_OPSETS, metadata: {} };
  const { graph: kept, report } = dropUnread.apply(graph, undefined);
  expect(kept.nodes.map(({ opType }) => opType)).toEqual(['Neg', 'Add']);
  expect(kept.initializers.map(({ name }) => name)).toEqual(['used']);
  expect(report.map(({ reason }) => reason)).toEqual(['nothing reads it', 'nothing reads it']);
  expect(dropUnread.apply(kept, undefined)).toEqual({ graph: kept, report: [] });
});

it('keeps what says whether a block runs, though nothing reads it', () => {
  const g = new GraphBuilder('replaced');
  g.op('Neg', ['x'], { outputs: ['y'] });
  g.op('Less', ['x', 'x'], { outputs: ['layers.12.active'] });
  g.op('Abs', ['x'], { outputs: ['layers.12.saturation'] });
  const body = g.body('replaced', [value('x', 'float32', ['n'])], [value('y', 'float32', ['n'])]);
  const { graph } = dropUnread.apply({ ...body, functions: [], opsets: BASE_OPSETS, metadata: {} }, undefined);
  expect(graph.nodes.map(({ opType }) => opType)).toEqual(['Neg', 'Less']);
});

it('keeps what only a branch inside a branch reads', () => {
  const g = new GraphBuilder('branches');
  g.op('Neg', ['x'], { outputs: ['deep'] });
  g.op('Abs', ['x'], { outputs: ['passed'] });
  g.op('Not', ['c'], { outputs: ['lost'] });
  const branch = (write: (inside: GraphBuilder) => void, output: string) => {
    const inside = new GraphBuilder(output);
    write(inside);
    return attr.graph(inside.body(output, [], [value(output, 'float32', ['n'])]));
  };
  const inner = branch(
    (inside) => inside.op('Mul', ['deep', g.initializer('two', float32Tensor([2]))], { outputs: ['m'] }),
    'm',
  );
  // A branch may give a value of the graph around as it is.
  const passes = branch(() => {}, 'passed');
  const outer = branch(
    (inside) => inside.op('If', ['c'], { attributes: { then_branch: inner, else_branch: passes }, outputs: ['o'] }),
    'o',
  );
  g.op('If', ['c'], { attributes: { then_branch: outer, else_branch: passes }, outputs: ['y'] });
  const inputs = [value('x', 'float32', ['n']), value('c', 'bool', [])];
  const body = g.body('branches', inputs, [value('y', 'float32', ['n'])]);
  const graph: Graph = { ...body, functions: [], opsets: BASE_OPSETS, metadata: {} };
  const { graph: kept } = dropUnread.apply(graph, undefined);
  expect(kept.nodes.map(({ opType }) => opType)).toEqual(['Neg', 'Abs', 'If']);
  expect(kept.initializers.map(({ name }) => name)).toEqual(['two']);
});
