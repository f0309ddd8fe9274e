/** Which tokens a map stands in for, layer by layer: those of the least expected error, as far as their inputs tell it. */

/** A layer's sample: of each token past the warm-up, the error that is expected at its input, and the map's own. */
export interface Scored {
  /** All, those in the warm-up too. */
  readonly tokens: number;
  readonly expected: Float64Array;
  readonly errors: Float64Array;
}

/** Tokens in the order of what is expected, in steps of growing error. */
export interface ErrorCurve {
  readonly steps: readonly Step[];
  /** Ascending. */
  readonly expected: Float64Array;
  readonly tokens: number;
  /** Share of the tokens that are past the warm-up. */
  readonly most: number;
}

interface Step {
  /** Mean over the step's tokens. */
  readonly error: number;
  readonly count: number;
}

export interface Candidate {
  readonly layer: number;
  readonly curve: ErrorCurve;
}

export interface Allocated {
  readonly layer: number;
  /** Share of the layer's tokens. */
  readonly skipped: number;
  readonly threshold: number;
  /** Mean over the tokens that skip. */
  readonly error: number;
}

/**
 * The error that goes with each expected one: the growing step function that is nearest to the errors (isotonic
 * regression by pooling adjacent violators, Ayer et al. 1955).
 */
export function errorCurve({ tokens, expected, errors }: Scored): ErrorCurve {
  const order = [...expected.keys()].sort((a, b) => expected[a] - expected[b]);
  const steps: Step[] = [];
  for (const token of order) {
    let step: Step = { error: errors[token], count: 1 };
    for (let last = steps.at(-1); last !== undefined && last.error >= step.error; last = steps.at(-1)) {
      const count = last.count + step.count;
      step = { error: (last.error * last.count + step.error * step.count) / count, count };
      steps.pop();
    }
    steps.push(step);
  }
  return {
    steps,
    expected: Float64Array.from(order, (token) => expected[token]),
    tokens,
    most: order.length / tokens,
  };
}

/**
 * How many tokens skip in each layer so that `blocks` layers are skipped by a token on average and the sum of errors is
 * least: steps are taken in the order of their errors. Layers that nobody skips are left out, and the others stay in the
 * order of the candidates; undefined where there are fewer tokens.
 */
export function allocate(candidates: readonly Candidate[], blocks: number): Allocated[] | undefined {
  const steps = candidates.flatMap(({ curve }, at) =>
    curve.steps.map((step) => ({ ...step, at, tokens: curve.tokens })),
  );
  const counts = candidates.map(() => 0);
  const sums = candidates.map(() => 0);
  let left = blocks;
  // Steps of one layer grow, and sorting is stable: none is taken before those that come before it.
  for (const { at, error, count, tokens } of steps.toSorted((a, b) => a.error - b.error)) {
    if (left <= 0) break;
    const taken = Math.min(count, Math.round(left * tokens));
    counts[at] += taken;
    sums[at] += taken * error;
    left -= taken / tokens;
    if (taken < count) left = 0;
  }
  // Half a token of each layer is what rounding may leave.
  if (left * (candidates[0]?.curve.tokens ?? 1) > 0.5) return undefined;
  return candidates.flatMap(({ layer, curve }, at) => {
    const count = counts[at];
    if (count === 0) return [];
    const skipped = count / curve.tokens;
    return [{ layer, skipped, threshold: thresholdAfter(curve.expected, count), error: sums[at] / count }];
  });
}

/** Half way to the next token, which is not to skip; past the last, what it is itself. */
function thresholdAfter(expected: Float64Array, count: number): number {
  const last = expected[count - 1];
  return count < expected.length ? (last + expected[count]) / 2 : last;
}
