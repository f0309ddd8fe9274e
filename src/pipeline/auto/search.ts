/** Finds the fastest of many models, ordered from exact to fast, that keeps to a budget where it is measured. */

/** The most models that are measured. Two to four are usual. */
const MOST_ROUNDS = 6;

/** After the second miss, each round aims this much lower: what was expected is off by more than proportion says. */
const AIM_LOWER = 0.97;

/** A loss that was expected, and the share of a budget that was measured in its place. */
export interface Point {
  readonly expected: number;
  /** The budget holds up to 1. */
  readonly used: number;
}

/**
 * The last model that was measured to hold; undefined where none was. `expected` are their losses, rising; `known` is what
 * models with other losses were measured to use. Each round measures the model that should just hold if use grows in
 * proportion from the last measurement, and the search ends where that model has been measured to hold. A search that
 * only came nearer each time would end with none.
 */
export async function fastestThatHolds(
  expected: readonly number[],
  known: Point,
  measure: (at: number) => Promise<number>,
): Promise<number | undefined> {
  let last = known;
  let [held, failed] = [-1, expected.length];
  let misses = 0;
  for (let round = 0; round < MOST_ROUNDS && failed - held > 1; round++) {
    const aim = AIM_LOWER ** Math.max(0, misses - 1);
    const guess = expected.findLastIndex((loss) => loss * last.used <= aim * last.expected);
    if (guess <= held && held >= 0) break;
    const at = Math.min(Math.max(guess, held + 1), failed - 1);
    last = { expected: expected[at], used: await measure(at) };
    if (last.used <= 1) held = at;
    else {
      failed = at;
      misses++;
    }
  }
  return held < 0 ? undefined : held;
}
