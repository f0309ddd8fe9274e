/** Each activation's graph against its formula in float64. */
import { afterAll, expect, test } from 'vitest';
import { encodeModel } from '../../formats/onnx/index.ts';
import { BASE_OPSETS } from '../../src/core/graph.ts';
import { GraphBuilder, value } from '../../src/core/graph-builder.ts';
import type { Runner } from '../../src/core/runner.ts';
import { createOpenGraph } from '../../src/runtime/open-graph.ts';
import { ACTIVATIONS, type Activation, activate, thresholdedRelu } from './activation.ts';

const runners: Runner[] = [];
afterAll(async () => {
  for (const runner of runners) await runner.close();
});

const tanhGelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const FORMULAS: Record<Activation, (x: number) => number> = {
  silu: (x) => x / (1 + Math.exp(-x)),
  // x * (normal distribution function), from PyTorch 2.15 in float64 at the points of X below.
  gelu: (x) => PYTORCH_GELU[X.indexOf(x)],
  gelu_tanh: tanhGelu,
  relu: (x) => Math.max(x, 0),
};

const X = [-12, -3, -0.5, 0, 0.25, 1, 2, 9];
const PYTORCH_GELU = [
  0, -0.00404969409489031, -0.15426876936299344, 0, 0.14967658142073093, 0.841344746068543, 1.9544997361036416, 9,
];

test('every name of a config leads to one of the formulas', () => {
  expect(Object.keys(FORMULAS).sort()).toEqual([...new Set(Object.values(ACTIVATIONS))].sort());
});

test.each(Object.keys(FORMULAS) as Activation[])('%s', async (activation) => {
  const g = new GraphBuilder('test');
  activate(g, 'x', activation, 'y');
  const body = g.body('test', [value('x', 'float32', ['n'])], [value('y', 'float32', ['n'])]);
  const openGraph = createOpenGraph({ encode: encodeModel, threads: 1 });
  const runner = await openGraph({ ...body, functions: [], opsets: BASE_OPSETS, metadata: {} });
  runners.push(runner);
  const { y } = await runner.run({ x: { dtype: 'float32', dims: [X.length], data: Float32Array.from(X) } });
  for (const [i, x] of X.entries()) {
    // Four float32 roundings of numbers up to |x|, and a similar error of exp and erf.
    const tolerance = 8 * 2 ** -24 * Math.max(1, Math.abs(x));
    expect(Math.abs(Number(y.data[i]) - FORMULAS[activation](x)), `${activation}(${x})`).toBeLessThan(tolerance);
  }
});

test.each([
  [0.25, [0.25, 0.25 - 2 ** -26, 0, -0.25, 9], [0.25, 0, 0, 0, 9]],
  // float32's least number of all.
  [2 ** -149, [2 ** -149, 0, -1], [2 ** -149, 0, 0]],
])('FATReLU keeps a gate at the threshold %d, and none below', async (threshold, x, wanted) => {
  const g = new GraphBuilder('test');
  thresholdedRelu(g, 'x', threshold, 'y');
  const body = g.body('test', [value('x', 'float32', ['n'])], [value('y', 'float32', ['n'])]);
  const openGraph = createOpenGraph({ encode: encodeModel, threads: 1 });
  const runner = await openGraph({ ...body, functions: [], opsets: BASE_OPSETS, metadata: {} });
  runners.push(runner);
  const { y } = await runner.run({ x: { dtype: 'float32', dims: [x.length], data: Float32Array.from(x) } });
  expect(Array.from(y.data, Number)).toEqual(wanted);
});
