import { describe, expect, it, onTestFinished } from 'vitest';
import { type BlockChoice, byActivation, stackPlan } from '../../test/ffn-plan.ts';
import { ffnStack, HIDDEN, NEURONS } from '../../test/ffn-stack.ts';
import { seededFloats } from '../../test/random.ts';
import { floats, numbers, openGraph } from '../../test/run-body.ts';
import { expectWithin } from '../../test/within.ts';
import type { Graph } from '../core/graph.ts';
import { value } from '../core/graph-builder.ts';
import type { Plan, PlanTensors } from '../core/plan.ts';
import { choosesNeurons } from '../ops/index.ts';
import { type SkipRule, saturationOf, skipStart, skipStep } from '../ops/testing/reference.ts';
import { applyPlan, fuseSkipNorms, withCounts } from './index.ts';

const LAYERS = 8;
/** The first and the last layer are cold. */
const CANDIDATES = [1, 2, 3, 4, 5, 6];
const NO_TENSORS: PlanTensors = new Map();
const TOKENS = 12;

interface Rules extends SkipRule {
  readonly warmUpTokens: number;
}

function skipPlan(
  { runLength, reArm, threshold, warmUpTokens }: Rules,
  rest: Partial<Plan> = {},
  choice?: BlockChoice['choice'],
) {
  const blocks = CANDIDATES.map((layer) => ({ layer, skip: { threshold, runLength }, ...(choice && { choice }) }));
  return stackPlan(LAYERS, blocks, { preset: 'ffn-skip', skipping: { warmUpTokens, reArm }, ...rest });
}

const skipping = (rules: Rules, rest?: Partial<Plan>) =>
  applyPlan(fuseSkipNorms(ffnStack({ layers: LAYERS })), skipPlan(rules, rest), NO_TENSORS);

/** Runs tokens [batch, length] of one text, with the positions given, and returns values of each token. */
async function runner(graph: Graph) {
  const stream = [...CANDIDATES.flatMap((layer) => [`layers.${layer}.ffn_residual`, `hidden.${layer + 1}`]), 'out'];
  const perToken = CANDIDATES.flatMap((layer) => [`layers.${layer}.saturation`, `layers.${layer}.active`]);
  const open = await openGraph({
    ...graph,
    outputs: [
      ...stream.map((name) => value(name, 'float32', ['batch_size', 'sequence_length', HIDDEN])),
      ...perToken.map((name) =>
        value(name, name.endsWith('active') ? 'bool' : 'float32', ['batch_size', 'sequence_length']),
      ),
    ],
  });
  onTestFinished(() => open.close());
  return async (x: Float32Array, positions: readonly number[], batch = 1) => {
    const dims = [batch, positions.length / batch];
    const results = await open.run({
      'hidden.0': floats(x, [...dims, HIDDEN]),
      positions: { dtype: 'int64', dims, data: BigInt64Array.from(positions, BigInt) },
    });
    return Object.fromEntries(Object.entries(results).map(([name, tensor]) => [name, numbers(tensor)]));
  };
}

type Values = Record<string, number[]>;

/** A random walk, so that tokens are alike and thresholds meet some of them. */
const TEXT = seededFloats(11)(TOKENS * HIDDEN).map((entry) => 3 * entry);
const POSITIONS = Array.from({ length: TOKENS }, (_, position) => position);

const vector = (values: number[], token: number) => values.slice(token * HIDDEN, (token + 1) * HIDDEN);

/** Which candidate blocks the rule runs for a token, by the saturations that the model itself had. */
function activeByRule(values: Values, token: number, position: number, rules: Rules): boolean[] {
  let state = skipStart(position, rules.warmUpTokens);
  return CANDIDATES.map((layer) => {
    const active = state <= 0;
    state = skipStep(state, values[`layers.${layer}.saturation`][token], rules);
    return active;
  });
}

const activeIn = (values: Values, token: number) =>
  CANDIDATES.map((layer) => values[`layers.${layer}.active`][token] === 1);

const RULES: Rules = { runLength: 2, reArm: true, threshold: 0.6, warmUpTokens: 3 };

describe('ffn-skip', () => {
  it('starts a state after the positions, steps it between candidates, and leaves cold layers alone', () => {
    const { graph, report } = skipping(RULES);
    expect(report.map(({ block, applied }) => [block, applied])).toEqual(
      CANDIDATES.map((layer) => [`layers.${layer}.ffn`, true]),
    );
    const ours = graph.nodes.filter(({ domain }) => domain === 'lacuna');
    expect(ours.map(({ opType }) => opType)).toEqual([
      'FFNSkipStart_2_0',
      ...CANDIDATES.slice(1).flatMap(() => ['GatedFFN_2_0', 'FFNSkipStep_2_0']),
      'GatedFFN_2_0',
    ]);
    expect(ours[1]).toMatchObject({
      inputs: [
        'hidden.1',
        'stack.mixed_1',
        'model.layers.1.post_attention_layernorm.weight',
        'layers.1.active',
        '',
        'model.layers.1.mlp.gate_proj.weight',
        ...['', ''],
        'model.layers.1.mlp.up_proj.weight',
        ...['', ''],
        'model.layers.1.mlp.down_proj.weight.neuron_major',
      ],
      outputs: ['layers.1.ffn_out', 'layers.1.ffn_residual', 'layers.1.saturation'],
    });
    expect(ours[2]).toMatchObject({
      inputs: ['layers.1.skip_state', 'layers.1.saturation', 'layers.1.ffn.skip_threshold'],
      outputs: ['layers.2.skip_state', 'layers.2.active'],
    });
    expect(graph.functions.map(({ name }) => name)).toEqual(['GatedFFN_2_0', 'FFNSkipStep_2_0', 'FFNSkipStart_2_0']);
    const thresholds = graph.initializers.filter(({ name }) => name.endsWith('.skip_threshold'));
    expect(thresholds.map(({ data }) => data.shape)).toEqual(CANDIDATES.slice(1).map(() => []));
  });

  it.each<Rules>([
    RULES,
    { ...RULES, reArm: false },
    { ...RULES, runLength: 1, warmUpTokens: 0 },
    { ...RULES, runLength: 9, reArm: false },
  ])('skips as the rule says: %j', async (rules) => {
    const run = await runner(skipping(rules).graph);
    const values = await run(TEXT, POSITIONS);
    const skipped = POSITIONS.map((position) => {
      const active = activeIn(values, position);
      expect(active).toEqual(activeByRule(values, position, position, rules));
      CANDIDATES.forEach((layer, index) => {
        const [before, after] = [`layers.${layer}.ffn_residual`, `hidden.${layer + 1}`].map((name) =>
          vector(values[name], position),
        );
        const saturation = values[`layers.${layer}.saturation`][position];
        if (!active[index]) {
          expect(after).toEqual(before);
          expect(saturation).toBe(0);
        } else {
          // cos(h, after): three sums of HIDDEN products, and `after` itself is rounded.
          const change = after.map((entry, i) => entry - before[i]);
          expect(Math.abs(saturation - saturationOf(before, change))).toBeLessThanOrEqual(8 * HIDDEN * 2 ** -23);
        }
      });
      return active.filter((one) => !one).length;
    });
    expect(skipped.slice(0, rules.warmUpTokens)).toEqual(new Array(rules.warmUpTokens).fill(0));
    // The rule had something to decide: tokens differ.
    expect(new Set(skipped).size).toBeGreaterThan(1);
  });

  it('gives the same at once, in chunks, token by token and in batch rows', async () => {
    const run = await runner(skipping(RULES).graph);
    const whole = await run(TEXT, POSITIONS);
    const pieces = async (size: number): Promise<Values> => {
      const parts: Values[] = [];
      for (let at = 0; at < TOKENS; at += size)
        parts.push(await run(TEXT.slice(at * HIDDEN, (at + size) * HIDDEN), POSITIONS.slice(at, at + size)));
      return Object.fromEntries(Object.keys(whole).map((name) => [name, parts.flatMap((part) => part[name])]));
    };
    const rows = await run(TEXT, POSITIONS, 3);
    for (const other of [await pieces(1), await pieces(5), rows]) {
      for (const layer of CANDIDATES) expect(other[`layers.${layer}.active`]).toEqual(whole[`layers.${layer}.active`]);
      // Products of other shapes add in another order: sums of NEURONS, then of HIDDEN, through LAYERS layers of
      // magnitude below 100, normed at the end.
      const tolerance = 100 * LAYERS * (NEURONS + 2 * HIDDEN) * 2 ** -23;
      expectWithin(other.out, whole.out, tolerance);
    }
  });

  it('skips nothing in calls with several tokens when the plan says so', async () => {
    const { graph } = skipping({ ...RULES, warmUpTokens: 0 }, { prefill: 'dense' });
    const run = await runner(graph);
    const together = await run(TEXT, POSITIONS);
    expect(POSITIONS.flatMap((token) => activeIn(together, token))).not.toContain(false);
    const alone = await Promise.all(
      POSITIONS.map((token) => run(TEXT.slice(token * HIDDEN, (token + 1) * HIDDEN), [token])),
    );
    expect(alone.flatMap((values) => activeIn(values, 0))).toContain(false);
  });

  it('selects neurons in blocks that run', async () => {
    const choice = byActivation(0.3);
    const tensors = new Map([['scores', { shape: [NEURONS], data: new Float32Array(NEURONS).fill(1) }]]);
    const { graph } = applyPlan(ffnStack({ layers: LAYERS }), skipPlan(RULES, {}, choice), tensors);
    const gated = graph.nodes.filter(choosesNeurons);
    expect(gated.length).toBe(CANDIDATES.length);
    const open = await openGraph({
      ...withCounts(graph),
      outputs: [
        ...graph.outputs,
        value('layers.2.kept', 'int32', ['b', 's']),
        value('layers.2.active', 'bool', ['b', 's']),
      ],
    });
    onTestFinished(() => open.close());
    const results = await open.run({
      'hidden.0': floats(TEXT, [1, TOKENS, HIDDEN]),
      positions: { dtype: 'int64', dims: [1, TOKENS], data: BigInt64Array.from(POSITIONS, BigInt) },
    });
    const kept = numbers(results['layers.2.kept']);
    numbers(results['layers.2.active']).forEach((active, token) => {
      if (active === 0) expect(kept[token]).toBe(0);
      else expect(kept[token]).toBeLessThan(NEURONS);
    });
    expect(kept).toContain(0);
  });

  it('refuses all blocks where no node makes the positions', () => {
    const stack = ffnStack({ layers: LAYERS });
    const graph = { ...stack, nodes: stack.nodes.filter(({ outputs }) => !outputs.includes('position_ids')) };
    const { report } = applyPlan(graph, skipPlan(RULES), NO_TENSORS);
    expect(new Set(report.map(({ reason }) => reason))).toEqual(new Set(['no node makes position_ids']));
    expect(report.filter(({ applied }) => applied)).toEqual([]);
  });

  it('goes past a block that it cannot rewrite', () => {
    const stack = ffnStack({ layers: LAYERS });
    const nodes = stack.nodes.map((node) =>
      node.outputs.includes('layers.2.gate') ? { ...node, opType: 'MatMulNBits' } : node,
    );
    const { graph, report } = applyPlan({ ...stack, nodes }, skipPlan(RULES), NO_TENSORS);
    expect(report.find(({ block }) => block === 'layers.2.ffn')?.applied).toBe(false);
    const [, , step] = graph.nodes.filter(({ domain }) => domain === 'lacuna');
    expect(step.outputs).toEqual(['layers.3.skip_state', 'layers.3.active']);
  });

  it('does not guess at warm-up and re-arming', () => {
    expect(() => skipping(RULES, { skipping: null })).toThrow(expect.objectContaining({ code: 'mismatch' }));
  });
});
