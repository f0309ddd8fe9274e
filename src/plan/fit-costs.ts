/** A host's costs from measured decode steps: least squares with costs that are not negative. */
import { COSTS, type CostName, type StorageCosts, type Terms } from '../core/host-costs.ts';

/** A decode step: what it consists of, and what it took. */
export interface MeasuredStep {
  readonly terms: Terms;
  readonly seconds: number;
}

/** Among costs that explain the steps alike, the smallest are taken: this small a weight decides nothing else. */
const RIDGE = 1e-7;

const SWEEPS = 20_000;

/**
 * The costs for which the sum of the squares of relative errors is least. Costs that no step has a term of are 0.
 *
 * Minimises |A x - 1|² for x >= 0, where a row of A is a step's terms divided by its seconds, by coordinate descent: each
 * cost in turn takes its best value with the others as they are, or 0 if that is negative. The sum is convex, so this
 * ends at its minimum (Franc, Hlaváč and Navara 2005, "Sequential coordinate-wise algorithm"). Columns are scaled to length 1.
 */
export function fitCosts(steps: readonly MeasuredStep[]): StorageCosts {
  const names = COSTS.map(({ name }) => name).filter((name) => steps.some(({ terms }) => (terms[name] ?? 0) > 0));
  const columns = names.map((name) => steps.map(({ terms, seconds }) => (terms[name] ?? 0) / seconds));
  const lengths = columns.map((column) => Math.sqrt(dot(column, column)));
  const unit = columns.map((column, at) => column.map((entry) => entry / lengths[at]));
  const gram = unit.map((one, i) => unit.map((other, j) => dot(one, other) + (i === j ? RIDGE : 0)));
  const wanted = unit.map((column) => column.reduce((sum, entry) => sum + entry, 0));
  const solution = new Array<number>(names.length).fill(0);
  for (let sweep = 0; sweep < SWEEPS; sweep++)
    for (const at of names.keys())
      solution[at] = Math.max(0, solution[at] + (wanted[at] - dot(gram[at], solution)) / gram[at][at]);
  const found = new Map(names.map((name, at) => [name, solution[at] / lengths[at]]));
  return Object.fromEntries(COSTS.map(({ name }) => [name, found.get(name) ?? 0])) as Record<CostName, number>;
}

function dot(one: readonly number[], other: readonly number[]): number {
  return one.reduce((sum, entry, at) => sum + entry * other[at], 0);
}
