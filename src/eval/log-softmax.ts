/** Scores of one position's logits, by float64 sums around the largest: no overflow, even over 262,144 words. */

export interface Score {
  /** -log softmax(logits)[target], in nats. */
  readonly nll: number;
  /** The likeliest token; the first of equals. */
  readonly top: number;
}

export interface ScorePair {
  readonly baseline: Score;
  readonly model: Score;
  /** KL(baseline || model), in nats. */
  readonly kl: number;
}

/** `logits` holds one position. If the logits are NaN or infinite, the result is too. */
export function score(logits: Float32Array, target: number): Score {
  const top = likeliest(logits);
  const max = logits[top];
  return { nll: logOfSum(logits, max) + (max - logits[target]), top };
}

/** log of the sum of exp(logits). */
export function logSumExp(logits: Float32Array): number {
  const max = logits[likeliest(logits)];
  return max + logOfSum(logits, max);
}

function logOfSum(logits: Float32Array, max: number): number {
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - max);
  return Math.log(sum);
}

/** With logits a, b and their log-sum-exps A, B: KL = sum p (log p - log q) = E_p[a - b] - A + B. */
export function scorePair(baseline: Float32Array, model: Float32Array, target: number): ScorePair {
  const baselineTop = likeliest(baseline);
  const max = baseline[baselineTop];
  let sum = 0;
  let weighted = 0;
  for (let i = 0; i < baseline.length; i++) {
    const weight = Math.exp(baseline[i] - max);
    sum += weight;
    weighted += weight * (baseline[i] - model[i]);
  }
  const baselineLog = max + Math.log(sum);
  const { nll, top } = score(model, target);
  const modelLog = nll + model[target];
  return {
    baseline: { nll: Math.log(sum) + (max - baseline[target]), top: baselineTop },
    model: { nll, top },
    // Rounding may make a KL of 0 negative, but never by more than the sums' own error.
    kl: Math.max(0, weighted / sum - baselineLog + modelLog),
  };
}

function likeliest(logits: Float32Array): number {
  let top = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[top]) top = i;
  return top;
}
