import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { calling, floats, numbers, runBody } from '../../test/run-body.ts';
import { ffnSkipStartBody, ffnSkipStartNode, ffnSkipStepBody, ffnSkipStepNode } from './ffn-skip.ts';
import { type SkipRule, skipStart, skipStep } from './testing/reference.ts';

async function start(positions: readonly (readonly number[])[], warmUpTokens: number, densePrefill = false) {
  const ports = { inputs: { position_ids: 'position_ids' }, outputs: { state: 'state', active: 'active' } };
  const dims = [positions.length, positions[0].length];
  const position_ids = { dtype: 'int64', dims, data: BigInt64Array.from(positions.flat(), BigInt) } as const;
  return runBody({
    ...calling(ffnSkipStartBody(densePrefill), (opType) =>
      ffnSkipStartNode({ node: 'start', opType, densePrefill, warmUpTokens, ...ports }),
    ),
    feeds: { position_ids },
    outputs: { state: 'int32', active: 'bool' },
  });
}

async function step(states: readonly number[], saturations: readonly number[], rule: SkipRule) {
  const { runLength, reArm } = rule;
  const inputs = { state: 'state', saturation: 'saturation', threshold: 'threshold' };
  const outputs = { next_state: 'next_state', next_active: 'next_active' };
  const feeds = {
    state: { dtype: 'int32', dims: [1, states.length], data: Int32Array.from(states) },
    saturation: floats(saturations, [1, states.length]),
    threshold: floats([rule.threshold], []),
  } as const;
  return runBody({
    ...calling(ffnSkipStepBody(reArm), (opType) =>
      ffnSkipStepNode({ node: 'step', opType, runLength, reArm, inputs, outputs }),
    ),
    feeds,
    outputs: { next_state: 'int32', next_active: 'bool' },
  });
}

describe('FFNSkipStart', () => {
  it('arms tokens past the warm-up; every token runs its first block', async () => {
    const { state, active } = await start([[0, 1, 2, 3]], 2);
    expect(numbers(state)).toEqual([0, 1, 2, 3].map((position) => skipStart(position, 2)));
    expect(numbers(state)).toEqual([-1, -1, 0, 0]);
    expect(numbers(active)).toEqual([1, 1, 1, 1]);
  });

  it('arms no token of a call with several tokens a row where prefill is dense', async () => {
    expect(numbers((await start([[5, 6]], 2, true)).state)).toEqual([-1, -1]);
    expect(numbers((await start([[5], [1]], 2, true)).state)).toEqual([0, -1]);
  });
});

describe('FFNSkipStep', () => {
  it('skips the next runLength blocks once the saturation reaches the threshold', async () => {
    const { next_state, next_active } = await step([0, 0, 0], [0.5, 0.75, 1], {
      runLength: 2,
      reArm: true,
      threshold: 0.75,
    });
    expect(numbers(next_state)).toEqual([0, 2, 2]);
    expect(numbers(next_active)).toEqual([1, 0, 0]);
  });

  it('counts a run down untested, then re-arms or is done', async () => {
    const rule = { runLength: 3, threshold: 0 };
    expect(numbers((await step([3, 2, 1, -1], [1, 1, 1, 1], { ...rule, reArm: true })).next_state)).toEqual([
      2, 1, 0, -1,
    ]);
    expect(numbers((await step([3, 2, 1, -1], [1, 1, 1, 1], { ...rule, reArm: false })).next_state)).toEqual([
      2, 1, -1, -1,
    ]);
  });

  it('agrees with the plain rule', async () => {
    const tokens = fc.array(fc.tuple(fc.integer({ min: -1, max: 4 }), fc.constantFrom(-1, 0, 0.5, 0.875, 1)), {
      minLength: 1,
      maxLength: 12,
    });
    const rules = fc.record({
      runLength: fc.integer({ min: 1, max: 4 }),
      reArm: fc.boolean(),
      threshold: fc.constantFrom(-1, 0, 0.5, 0.875, 1),
    });
    await fc.assert(
      fc.asyncProperty(tokens, rules, async (pairs, rule) => {
        const { next_state, next_active } = await step(
          pairs.map(([state]) => state),
          pairs.map(([, saturation]) => saturation),
          rule,
        );
        const wanted = pairs.map(([state, saturation]) => skipStep(state, saturation, rule));
        expect(numbers(next_state)).toEqual(wanted);
        expect(numbers(next_active)).toEqual(wanted.map((state) => Number(state <= 0)));
      }),
      { numRuns: 15, seed: 4 },
    );
  });
});
