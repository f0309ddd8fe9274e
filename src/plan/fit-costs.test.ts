import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { COSTS, type CostName, type StorageCosts, timeOf } from '../core/host-costs.ts';
import { fitCosts, fitCostsTogether, type MeasuredStep } from './fit-costs.ts';
import { normal } from './testing/statistics.ts';

const cost = fc.double({ min: 1, max: 100, noNaN: true });
const costs = fc.record(Object.fromEntries(COSTS.map(({ name }) => [name, cost])) as Record<CostName, typeof cost>);

/** Mulberry32: numbers in [0, 1) that neighbouring seeds do not share. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Steps of random terms, whose times are off by a relative error with this deviation. */
function stepsOf(known: StorageCosts, count: number, noise: number, seed: number): MeasuredStep[] {
  const next = randomOf(seed);
  return Array.from({ length: count }, () => {
    const terms = Object.fromEntries(COSTS.map(({ name }) => [name, next() < 0.3 ? 0 : 1 + 9 * next()]));
    return { terms, seconds: timeOf(known, terms) * (1 + noise * normal(next)) };
  });
}

const largestError = (found: StorageCosts, known: StorageCosts) =>
  Math.max(...COSTS.map(({ name }) => Math.abs(found[name] / known[name] - 1)));

const largestOf = (found: StorageCosts | undefined, known: StorageCosts) =>
  Math.max(...COSTS.map(({ name }) => Math.abs((found?.[name] ?? Number.NaN) - known[name])));

describe('fitCosts', () => {
  it('finds the costs that times are made of', () => {
    fc.assert(
      fc.property(costs, fc.integer(), (known, seed) => {
        expect(largestError(fitCosts(stepsOf(known, 60, 0, seed)), known)).toBeLessThan(0.01);
      }),
      { numRuns: 20 },
    );
  });

  it('predicts other steps to less than the noise of those measured', () => {
    fc.assert(
      fc.property(costs, fc.integer(), (known, seed) => {
        const found = fitCosts(stepsOf(known, 200, 0.02, seed));
        const errors = stepsOf(known, 20, 0, seed + 1).map(({ terms, seconds }) => timeOf(found, terms) / seconds - 1);
        expect(errors.reduce((sum, error) => sum + Math.abs(error), 0) / errors.length).toBeLessThan(0.02);
      }),
      { numRuns: 20 },
    );
  });

  it('gives no negative cost, and none for what was not measured', () => {
    // With a negative cost of a row, both would be met.
    const found = fitCosts([
      { terms: { block: 1 }, seconds: 4 },
      { terms: { block: 1, row: 1 }, seconds: 3 },
    ]);
    expect(found.row).toBe(0);
    // Least squares of x / 4 - 1 and x / 3 - 1.
    expect(found.block).toBeCloseTo((1 / 4 + 1 / 3) / (1 / 16 + 1 / 9), 4);
    expect(COSTS.filter(({ name }) => found[name] > 0).map(({ name }) => name)).toEqual(['block']);
  });

  it('finds costs that several precisions share, of which one precision alone shows little', () => {
    const known = { ...Object.fromEntries(COSTS.map(({ name }) => [name, 0])), head: 3, product: 2 } as StorageCosts;
    const other = { ...known, product: 5 };
    // One has steps with a head alone. Of the other's steps, head and product cannot be told apart.
    const steps = new Map([
      [
        'int8',
        [
          { terms: { head: 1, product: 1 }, seconds: 5 },
          { terms: { head: 4 }, seconds: 12 },
        ],
      ],
      ['int4', [{ terms: { head: 2, product: 2 }, seconds: 16 }]],
    ]);
    const found = fitCostsTogether(steps, ['head']);
    expect(largestOf(found.get('int8'), known)).toBeLessThan(1e-4);
    expect(largestOf(found.get('int4'), other)).toBeLessThan(1e-4);
    // By itself, the same step tells their sum alone.
    const alone = fitCosts(steps.get('int4') ?? []);
    expect(alone.head + alone.product).toBeCloseTo(8, 4);
    expect(Math.abs(alone.head - 3)).toBeGreaterThan(1);
  });

  it('weighs relative errors, so that short steps count as much as long ones', () => {
    const { layer } = fitCosts([
      { terms: { layer: 1 }, seconds: 1 },
      { terms: { layer: 100 }, seconds: 200 },
    ]);
    // The minimum of (x - 1)² + (x / 2 - 1)².
    expect(layer).toBeCloseTo(1.2, 4);
  });
});
