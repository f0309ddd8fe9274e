/** Blocks that are replaced, in graphs that run: compared with the same by plain loops. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { stackPlan } from '../../test/ffn-plan.ts';
import { ffnStack, HIDDEN } from '../../test/ffn-stack.ts';
import { seededFloats } from '../../test/random.ts';
import { floats, numbers, openGraph } from '../../test/run-body.ts';
import { expectWithin } from '../../test/within.ts';
import type { Graph } from '../core/graph.ts';
import { value } from '../core/graph-builder.ts';
import type { BlockPlan, Plan, PlanTensors } from '../core/plan.ts';
import { operatorOf } from '../ops/index.ts';
import { applyPlan, fuseSkipNorms, withNothingLeftOut, withSparsePrefill } from './index.ts';

const [LAYERS, RANK, TOKENS] = [4, 3, 12];
const REPLACED = [1, 2];

function random(seed: number, ...shape: number[]) {
  return { shape, data: seededFloats(seed)(shape.reduce((product, dim) => product * dim, 1)) };
}

const TENSORS: PlanTensors = new Map(
  REPLACED.flatMap((layer) => [
    [`${layer}.reduce`, random(20 + layer, RANK, HIDDEN)],
    [`${layer}.expand`, random(30 + layer, HIDDEN, RANK)],
    [`${layer}.offset`, random(40 + layer, HIDDEN)],
    [`${layer}.slope`, random(50 + layer, HIDDEN)],
  ]),
);

const GATE = { threshold: 0.4, curvature: 0.05, intercept: 0.1 };

function plan(gate: typeof GATE | undefined, rest: Partial<Plan> = {}): Plan {
  const blocks = REPLACED.map(
    (layer): BlockPlan => ({
      block: `layers.${layer}.ffn`,
      repair: {
        rank: RANK,
        tensors: { reduce: `${layer}.reduce`, expand: `${layer}.expand`, offset: `${layer}.offset` },
        ...(gate && { gate: { ...gate, tensors: { slope: `${layer}.slope`, quantiles: `${layer}.quantiles` } } }),
      },
      expected: { skipped: 0.5, bytesPerToken: 0 },
      why: 'a test',
    }),
  );
  const target = { kind: 'skipped-blocks', value: 0.25 } as const;
  return { ...stackPlan(LAYERS, [], { preset: 'replace', target, skipping: null, ...rest }), blocks };
}

const dense = (options = {}) => fuseSkipNorms(ffnStack({ layers: LAYERS, ...options }));
const replaced = (made: Plan, graph = dense()) => applyPlan(graph, made, TENSORS);

/** Values of replaced layers for TOKENS tokens of a text in one call. */
async function run(graph: Graph) {
  const ofStream = (name: string) => value(name, 'float32', ['batch_size', 'sequence_length', HIDDEN]);
  const ofTokens = (name: string) => value(name, 'bool', ['batch_size', 'sequence_length']);
  const made = new Set(graph.nodes.flatMap(({ outputs }) => outputs));
  const names = REPLACED.flatMap((layer) => ['ffn_in', 'ffn_out'].map((tap) => `layers.${layer}.${tap}`));
  const active = REPLACED.map((layer) => `layers.${layer}.active`).filter((name) => made.has(name));
  const open = await openGraph({ ...graph, outputs: [...names, 'out'].map(ofStream).concat(active.map(ofTokens)) });
  onTestFinished(() => open.close());
  const results = await open.run({
    'hidden.0': floats(seededFloats(11)(TOKENS * HIDDEN), [1, TOKENS, HIDDEN]),
    positions: { dtype: 'int64', dims: [1, TOKENS], data: BigInt64Array.from({ length: TOKENS }, (_, i) => BigInt(i)) },
  });
  return Object.fromEntries(Object.entries(results).map(([name, tensor]) => [name, numbers(tensor)]));
}

const data = (name: string) => TENSORS.get(name)?.data ?? new Float32Array(0);
const token = (values: number[], at: number) => values.slice(at * HIDDEN, (at + 1) * HIDDEN);
const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((sum, one, i) => sum + one * b[i], 0);

function mapOf(layer: number, x: number[]): number[] {
  const z = Array.from({ length: RANK }, (_, r) =>
    dot(data(`${layer}.reduce`).subarray(r * HIDDEN, (r + 1) * HIDDEN), x),
  );
  return Array.from(
    data(`${layer}.offset`),
    (offset, i) => offset + dot(data(`${layer}.expand`).subarray(i * RANK, (i + 1) * RANK), z),
  );
}

const expectedError = (layer: number, x: number[]) =>
  dot(data(`${layer}.slope`), x) + GATE.curvature * dot(x, x) + GATE.intercept;

/** float32 products and sums of some ten terms of size 1 to 10: 30 * 2^-24 * 10, with room for another order. */
const TOLERANCE = 5e-5;

describe.each([{}, { postNorm: true }, { bias: true }])('a replaced block of %j', (options) => {
  it('is the map for every token where there is no gate, and its weights leave the model', async () => {
    const { graph, report } = replaced(plan(undefined), dense(options));
    expect(report.map(({ applied, reason }) => [applied, reason.slice(0, 27)])).toEqual(
      REPLACED.map(() => [true, 'an affine map of rank 3 in ']),
    );
    expect(graph.initializers.filter(({ name }) => /layers\.[12]\.mlp/.test(name))).toEqual([]);
    expect(graph.functions).toEqual([]);
    const values = await run(graph);
    for (const layer of REPLACED) {
      const wanted = Array.from({ length: TOKENS }, (_, at) =>
        mapOf(layer, token(values[`layers.${layer}.ffn_in`], at)),
      );
      expectWithin(values[`layers.${layer}.ffn_out`], wanted.flat(), TOLERANCE);
      expect(values[`layers.${layer}.active`]).toEqual(new Array(TOKENS).fill(0));
    }
  });

  it('runs for the tokens whose expected error is above the threshold, and is the map for others', async () => {
    const { graph } = replaced(plan(GATE), dense(options));
    const [values, whole] = [await run(graph), await run(dense(options))];
    const decided = REPLACED.map((layer) => {
      const inputs = Array.from({ length: TOKENS }, (_, at) => token(values[`layers.${layer}.ffn_in`], at));
      const active = inputs.map((x) => expectedError(layer, x) > GATE.threshold);
      expect(values[`layers.${layer}.active`]).toEqual(active.map(Number));
      for (const [at, x] of inputs.entries())
        if (!active[at]) expectWithin(token(values[`layers.${layer}.ffn_out`], at), mapOf(layer, x), TOLERANCE);
        // The first replaced layer reads what it does in the dense model.
        else if (layer === REPLACED[0])
          expectWithin(token(values['layers.1.ffn_out'], at), token(whole['layers.1.ffn_out'], at), TOLERANCE);
      return active;
    });
    for (const active of decided) expect(new Set(active)).toEqual(new Set([true, false]));
  });

  it('is the dense block where nothing is left out', async () => {
    const made = plan(GATE);
    const whole = withNothingLeftOut(replaced(made, dense(options)).graph, made);
    if (whole === undefined) throw new Error('a threshold decides');
    expectWithin((await run(whole)).out, (await run(dense(options))).out, TOLERANCE);
  });
});

describe('tokens that run all blocks', () => {
  it('are those of the warm-up, and in calls of several tokens all where a prefill is dense', async () => {
    const gate = { ...GATE, threshold: 1e6 };
    const warm = await run(replaced(plan(gate, { skipping: { warmUpTokens: 3, reArm: true } })).graph);
    const dense = replaced(plan(gate, { prefill: 'dense' })).graph;
    for (const layer of REPLACED) {
      const name = `layers.${layer}.active`;
      expect(warm[name]).toEqual([1, 1, 1, ...new Array(TOKENS - 3).fill(0)]);
      expect((await run(dense))[name]).toEqual(new Array(TOKENS).fill(1));
      expect((await run(withSparsePrefill(dense)))[name]).toEqual(new Array(TOKENS).fill(0));
    }
  });
});

describe('the pass repair', () => {
  it('puts one GatedFFN and no state where nothing holds blocks back', () => {
    const names = ({ graph }: ReturnType<typeof replaced>) => graph.nodes.flatMap((node) => operatorOf(node) ?? []);
    expect(names(replaced(plan(GATE)))).toEqual(['GatedFFN', 'GatedFFN']);
    const held = plan(GATE, { skipping: { warmUpTokens: 1, reArm: true } });
    expect(names(replaced(held))).toEqual(['FFNSkipStart', 'GatedFFN', 'GatedFFN']);
  });

  it('has no dense twin for blocks that are replaced for every token', () => {
    const made = plan(undefined);
    expect(withNothingLeftOut(replaced(made).graph, made)).toBeUndefined();
  });

  it.each([
    [
      'that are to run in a dense prefill',
      'layers.1.ffn',
      (graph: Graph) => graph,
      plan(undefined, { prefill: 'dense' }),
      /dense prefill/,
    ],
    [
      'without positions',
      'layers.1.ffn',
      (graph: Graph) => ({ ...graph, nodes: graph.nodes.filter(({ outputs }) => outputs[0] !== 'position_ids') }),
      plan(undefined),
      /no node makes position_ids/,
    ],
  ])('refuses blocks %s', (_, block, change, made, reason) => {
    const { report } = replaced(made, change(dense()));
    expect(report[0]).toMatchObject({ rule: 'repair', block, applied: false, reason: expect.stringMatching(reason) });
  });

  it('refuses tensors of another shape', () => {
    const broken = new Map([...TENSORS, ['2.expand', random(1, RANK, HIDDEN)]]);
    expect(() => applyPlan(dense(), plan(undefined), broken)).toThrow('The plan\'s tensor "2.expand" is [3,8]');
  });
});
