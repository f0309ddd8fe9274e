/** The standard normal distribution and its quantile function Q, which turns a density into StatisticalTopK's cut. */

/** The z below which a share `p` of a standard normal lies; 0 < p < 1. @example normalQuantile(0.95) // 1.6449 */
export function normalQuantile(p: number): number {
  if (!(p > 0 && p < 1)) throw new RangeError(`Expected a share between 0 and 1 for p but received ${p}`);
  let low = -LIMIT;
  let high = LIMIT;
  // Each step halves 18; after 60 the middle is as exact as a float64 near 1 can be.
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (normalShare(middle) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** Beyond this, float64 cannot tell a share from 0 or 1. */
const LIMIT = 9;

/**
 * The share of a standard normal that lies below z. Phi(z) = 1/2 + phi(z) (z + z^3/3 + z^5/(3 5) + ...), from G. Marsaglia,
 * "Evaluating the Normal Distribution", 2004. @example normalShare(1.6449) // 0.95
 */
export function normalShare(z: number): number {
  if (Math.abs(z) > LIMIT) return z < 0 ? 0 : 1;
  let sum = 0;
  let term = z;
  for (let odd = 3; sum + term !== sum; odd += 2) {
    sum += term;
    term *= (z * z) / odd;
  }
  return 0.5 + (sum * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI);
}
