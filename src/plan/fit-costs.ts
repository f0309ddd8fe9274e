/** A host's costs from measured decode steps: least squares with costs that are not negative. */
import { COSTS, type CostName, type StorageCosts, type Terms } from '../core/host-costs.ts';

/** A decode step: what it consists of, and what it took. */
export interface MeasuredStep {
  readonly terms: Terms;
  readonly seconds: number;
}

/** Keeps columns that are alike apart: this small a weight decides nothing else. */
const RIDGE = 1e-7;

const SWEEPS = 20_000;

/** The costs for which the sum of the squares of relative errors is least. Costs that no step has a term of are 0. */
export function fitCosts(steps: readonly MeasuredStep[]): StorageCosts {
  const [[, costs]] = fitCostsTogether(new Map([['all', steps]]), []);
  return costs;
}

/** The same for steps of several precisions, by name. The costs that are `shared` are the same in all of them. */
export function fitCostsTogether(
  steps: ReadonlyMap<string, readonly MeasuredStep[]>,
  shared: readonly CostName[],
): ReadonlyMap<string, StorageCosts> {
  const unknownOf = (precision: string, cost: CostName) => (shared.includes(cost) ? cost : `${precision} ${cost}`);
  const rows = [...steps].flatMap(([precision, ofPrecision]) =>
    ofPrecision.map(({ terms, seconds }) => {
      const entries = COSTS.map(({ name }) => [unknownOf(precision, name), (terms[name] ?? 0) / seconds] as const);
      return new Map(entries.filter(([, entry]) => entry > 0));
    }),
  );
  const unknowns = [...new Set(rows.flatMap((row) => [...row.keys()]))];
  const solution = leastSquares(unknowns.map((unknown) => rows.map((row) => row.get(unknown) ?? 0)));
  const found = new Map(unknowns.map((unknown, at) => [unknown, solution[at]]));
  const costsOf = (precision: string) =>
    Object.fromEntries(COSTS.map(({ name }) => [name, found.get(unknownOf(precision, name)) ?? 0]));
  return new Map([...steps.keys()].map((precision) => [precision, costsOf(precision) as Record<CostName, number>]));
}

/**
 * Minimises |A x - 1|² for x >= 0, where a row of A is a step's terms divided by its seconds, by coordinate descent: each
 * cost in turn takes its best value with the others as they are, or 0 if that is negative. The sum is convex, so this
 * ends at its minimum (Franc, Hlaváč and Navara 2005, "Sequential coordinate-wise algorithm"). Columns are scaled to length 1.
 */
function leastSquares(columns: readonly (readonly number[])[]): readonly number[] {
  const lengths = columns.map((column) => Math.sqrt(dot(column, column)));
  const unit = columns.map((column, at) => column.map((entry) => entry / lengths[at]));
  const gram = unit.map((one, i) => unit.map((other, j) => dot(one, other) + (i === j ? RIDGE : 0)));
  const wanted = unit.map((column) => column.reduce((sum, entry) => sum + entry, 0));
  const solution = new Array<number>(columns.length).fill(0);
  for (let sweep = 0; sweep < SWEEPS; sweep++)
    for (const at of columns.keys())
      solution[at] = Math.max(0, solution[at] + (wanted[at] - dot(gram[at], solution)) / gram[at][at]);
  return solution.map((value, at) => value / lengths[at]);
}

function dot(one: readonly number[], other: readonly number[]): number {
  return one.reduce((sum, entry, at) => sum + entry * other[at], 0);
}
