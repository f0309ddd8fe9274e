/** Arrays of numbers held against each other, for tests. */
import { expect } from 'vitest';

/** Expects each number within `tolerance` of the one wanted in its place. An assertion for each would take longer than a small model. */
export function expectWithin(got: ArrayLike<unknown>, wanted: ArrayLike<number>, tolerance: number): void {
  expect(got.length).toBe(wanted.length);
  for (let at = 0; at < wanted.length; at++) {
    const difference = Math.abs(Number(got[at]) - wanted[at]);
    // What is not a number is not within anything.
    if (!(difference <= tolerance)) expect(difference, `entry ${at}`).toBeLessThanOrEqual(tolerance);
  }
}
