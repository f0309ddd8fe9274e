/**
 * exp from plain sums and products in a fixed order. Engines may round `Math.exp` differently, but a seed must give the
 * same text in all of them and in C++ (native/binding/sampler.cc).
 */

/** ln 2 in two parts. The 20 last bits of the first are zero, so its product with an exponent of 11 bits is exact. */
const LN2_HIGH = 0x162e42fef / 2 ** 33;
const LN2_LOW = 0x1473de6af278ed / 2 ** 86;
/** Below this, results would be denormal. */
const LEAST = -708;
/** Taylor's series up to r^13 / 13!. For |r| <= ln 2 / 2 the rest is below 2^-57. */
const TERMS = 13;

const INVERSE_FACTORIALS = [1];
for (let i = 1, factorial = 1; i <= TERMS; i++) {
  factorial *= i;
  INVERSE_FACTORIALS.push(1 / factorial);
}
/** 2^-i at index i, because `**` need not be exact. */
const POWERS = Array.from({ length: 1023 }, () => 1);
for (let i = 1; i < POWERS.length; i++) POWERS[i] = POWERS[i - 1] / 2;

/** exp(x) for x <= 0, within 2 units in the last place; 0 below -708. */
export function exponential(x: number): number {
  if (!(x >= LEAST)) return 0;
  const exponent = Math.floor(x * Math.LOG2E + 0.5);
  const rest = x - exponent * LN2_HIGH - exponent * LN2_LOW;
  let series = INVERSE_FACTORIALS[TERMS];
  for (let i = TERMS - 1; i >= 0; i--) series = series * rest + INVERSE_FACTORIALS[i];
  return series * POWERS[-exponent];
}
