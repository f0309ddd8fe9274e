import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_LEVEL, type SaturationTrace } from '../core/saturation.ts';
import { type SkipRule, simulateSkips } from './simulate.ts';

/** One sequence; `levels[token][layer]`. */
function traceOf(levels: readonly (readonly number[])[]): SaturationTrace {
  const [tokens, layers] = [levels.length, levels[0].length];
  const flat = Uint16Array.from({ length: layers * tokens }, (_, i) => levels[i % tokens][Math.floor(i / tokens)]);
  return { layers, tokens, levels: flat, positions: Uint32Array.from({ length: tokens }, (_, i) => i) };
}

const RULE: SkipRule = { start: 1, end: 7, level: 10, runLength: 1, warmUpTokens: 0, reArm: true };
/** Passes (5) or fails (50) the test at level 10. */
const P = 5;
const F = 50;

describe('simulateSkips', () => {
  // Layers:        0  1  2  3  4  5  6  7; cold are 0 and 7.
  const token = [P, F, P, P, P, F, P, P];

  it('skips one block after each that passed and was computed', () => {
    // 1 fails; 2 passes -> 3 skipped; 4 passes -> 5 skipped; 6 passes, but 7 is cold.
    expect(simulateSkips(traceOf([token]), RULE)).toEqual({ byLayer: [0, 0, 0, 1, 0, 1, 0, 0], share: 2 / 8 });
  });

  it('skips a run untested, and only inside the region', () => {
    // 2 passes -> 3, 4, 5 skipped; 6 passes, nothing is left.
    expect(simulateSkips(traceOf([token]), { ...RULE, runLength: 3 }).byLayer).toEqual([0, 0, 0, 1, 1, 1, 0, 0]);
    expect(simulateSkips(traceOf([token]), { ...RULE, runLength: 9 }).byLayer).toEqual([0, 0, 0, 1, 1, 1, 1, 0]);
  });

  it('skips one run a token without re-arming', () => {
    expect(simulateSkips(traceOf([token]), { ...RULE, reArm: false }).byLayer).toEqual([0, 0, 0, 1, 0, 0, 0, 0]);
  });

  it('leaves warm-up positions whole', () => {
    const trace = traceOf([token, token, token]);
    expect(simulateSkips(trace, { ...RULE, warmUpTokens: 2 }).byLayer).toEqual([0, 0, 0, 1, 0, 1, 0, 0]);
    expect(simulateSkips(trace, { ...RULE, warmUpTokens: 3 }).share).toBe(0);
  });

  it('lets nothing pass at level -1, everything at the highest', () => {
    expect(simulateSkips(traceOf([[0, 0, 0, 0, 0, 0, 0, 0]]), { ...RULE, level: -1 }).share).toBe(0);
    const worst = traceOf([new Array(8).fill(MAX_LEVEL)]);
    expect(simulateSkips(worst, { ...RULE, level: MAX_LEVEL }).byLayer).toEqual([0, 0, 1, 0, 1, 0, 1, 0]);
  });

  it('is the loop of the paper, token by token', () => {
    const level = fc.integer({ min: 0, max: 20 });
    const traces = fc
      .record({ layers: fc.integer({ min: 2, max: 9 }), tokens: fc.integer({ min: 1, max: 6 }) })
      .chain(({ layers, tokens }) =>
        fc.array(fc.array(level, { minLength: layers, maxLength: layers }), { minLength: tokens, maxLength: tokens }),
      );
    const rules = fc.record({
      start: fc.integer({ min: 0, max: 4 }),
      end: fc.integer({ min: 0, max: 9 }),
      level,
      runLength: fc.integer({ min: 1, max: 4 }),
      warmUpTokens: fc.integer({ min: 0, max: 3 }),
      reArm: fc.constant(true),
    });
    fc.assert(
      fc.property(traces, rules, (levels, rule) => {
        const end = Math.min(rule.end, levels[0].length);
        expect(simulateSkips(traceOf(levels), { ...rule, end }).byLayer).toEqual(paperLoop(levels, { ...rule, end }));
      }),
    );
  });
});

/** FFN-SkipLLM, algorithm 1, as it is written there: `continue` for cold and skipped blocks, a counter of skips. */
function paperLoop(levels: readonly (readonly number[])[], rule: SkipRule): number[] {
  const skippedBlocks: number[] = new Array(levels[0].length).fill(0);
  for (const [t, token] of levels.entries()) {
    let skipping = 0;
    for (const [i, angle] of token.entries()) {
      if (t < rule.warmUpTokens || i < rule.start || i >= rule.end) continue;
      if (skipping > 0) {
        skipping -= 1;
        skippedBlocks[i] += 1;
        continue;
      }
      if (angle <= rule.level) skipping = rule.runLength;
    }
  }
  return skippedBlocks;
}
