import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { fastestThatHolds } from './search.ts';

const LOSSES = Array.from({ length: 100 }, (_, at) => 0.001 * at);

/** Measures models whose use is `factor` times the loss expected, over a budget of `limit`. */
async function search(factor: number, limit: number, known = { expected: 0.05, used: 1 }) {
  const measured: number[] = [];
  const found = await fastestThatHolds(LOSSES, known, async (at) => {
    measured.push(at);
    return (factor * LOSSES[at]) / limit;
  });
  return { found, measured };
}

it('goes where use should reach the budget, then to the last that holds', async () => {
  // Twice the loss expected: 0.02 is reached at 0.01, the eleventh.
  expect(await search(2, 0.02, { expected: 0.04, used: 1 })).toEqual({ found: 10, measured: [40, 10] });
  // A fourth of it: all that is left is measured at once.
  expect(await search(0.25, 0.05, { expected: 0.04, used: 1 })).toEqual({ found: 99, measured: [40, 99] });
});

it('aims lower where it has missed twice, so that it does not just come nearer', async () => {
  const measured: number[] = [];
  // Use grows like the root of the loss expected, up to the budget at 0.02.
  const used = (at: number) => Math.sqrt(LOSSES[at] / 0.02);
  const found = await fastestThatHolds(LOSSES, { expected: 0.04, used: 1 }, async (at) => {
    measured.push(at);
    return used(at);
  });
  expect(measured).toEqual([40, 28, 22, 19]);
  expect(found).toBe(19);
  expect(used(19)).toBeGreaterThan(0.95);
});

it('never gives what was not measured to hold, and finds none where none holds', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.double({ min: 0.1, max: 10, noNaN: true }),
      fc.double({ min: 1e-4, max: 0.2, noNaN: true }),
      async (factor, limit) => {
        const { found, measured } = await search(factor, limit);
        expect(measured.length).toBeLessThanOrEqual(6);
        expect(found === undefined || measured.includes(found)).toBe(true);
        if (found !== undefined) expect(factor * LOSSES[found]).toBeLessThanOrEqual(limit);
      },
    ),
  );
  expect(await fastestThatHolds([0.1, 0.2], { expected: 0.1, used: 1 }, async () => 1.5)).toBeUndefined();
  expect(await fastestThatHolds([0.1, 0.2], { expected: 0.1, used: 1 }, async () => 0.5)).toBe(1);
});
