/**
 * Scores of one position's logits. Sums are in float64 around the largest logit, so that nothing overflows and a sum
 * over 262,144 words loses no digit that matters.
 */

export interface Score {
  /** -log softmax(logits)[target], in nats. */
  readonly nll: number;
  /** The likeliest token, the first of equals. */
  readonly top: number;
}

export interface ScorePair {
  readonly dense: Score;
  readonly sparse: Score;
  /** KL(dense || sparse), in nats. */
  readonly kl: number;
}

/** `logits` holds one position. A NaN or infinite result means that the logits were. */
export function score(logits: Float32Array, target: number): Score {
  const top = likeliest(logits);
  return { nll: Math.log(sumOfExps(logits, logits[top])) + (logits[top] - logits[target]), top };
}

/**
 * With a, b the logits and A, B their log-sum-exps: KL = sum p (log p - log q) = E_p[a - b] - A + B, so the sparse
 * model's probabilities are needed for its own sum only.
 */
export function scorePair(dense: Float32Array, sparse: Float32Array, target: number): ScorePair {
  const denseTop = likeliest(dense);
  const max = dense[denseTop];
  let sum = 0;
  let weighted = 0;
  for (let i = 0; i < dense.length; i++) {
    const weight = expOf(dense[i] - max);
    sum += weight;
    weighted += weight * (dense[i] - sparse[i]);
  }
  const denseLog = max + Math.log(sum);
  const { nll, top } = score(sparse, target);
  const sparseLog = nll + sparse[target];
  return {
    dense: { nll: Math.log(sum) + (max - dense[target]), top: denseTop },
    sparse: { nll, top },
    // Rounding may take a KL of 0 below it, never by more than the sums' own error.
    kl: Math.max(0, weighted / sum - denseLog + sparseLog),
  };
}

function likeliest(logits: Float32Array): number {
  let top = 0;
  let max = logits[0];
  for (let i = 1; i < logits.length; i++) {
    if (logits[i] > max) {
      max = logits[i];
      top = i;
    }
  }
  return top;
}

function sumOfExps(logits: Float32Array, max: number): number {
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += expOf(logits[i] - max);
  return sum;
}

/** Steps from one power of two to the next. */
const STEPS = 256;
/** From 1 down to 2^-64: what is less is lost in a sum that has 1, even 262,144 times. */
const POWERS = Float64Array.from({ length: 64 * STEPS + 1 }, (_, step) => 2 ** (-step / STEPS));
const LEAST = -64 * Math.LN2;

/**
 * exp(x) for x <= 0 in half the time of Math.exp, which would be most of an evaluation's: the nearest step, and the series of
 * what is left, at most ln 2 / 512, up to its fourth power; the fifth is below float64's rounding.
 */
function expOf(x: number): number {
  if (x < LEAST) return 0;
  const step = (x * (-STEPS / Math.LN2) + 0.5) | 0;
  const rest = x + step * (Math.LN2 / STEPS);
  return POWERS[step] * (1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6 + rest / 24))));
}
