/** The operators as plain loops in float64: what bodies and kernels are tested against. Slow, and meant to be read. */
import type { Mode, NeuronChoice } from '../../core/choice.ts';
import type { Activation } from '../activations.ts';

export type Vector = ArrayLike<number>;

/** mean(x) + std(x) * quantile, with the population's standard deviation. */
export function statisticalThreshold(x: Vector, quantile: number): number {
  const values = Array.from(x);
  const mean = sum(values) / values.length;
  const variance = sum(values.map((value) => (value - mean) ** 2)) / values.length;
  return mean + Math.sqrt(variance) * quantile;
}

/** One row of StatisticalTopK. */
export function statisticalTopKRow(x: Vector, quantile: number, mode: Mode): { y: number[]; kept: number } {
  const theta = statisticalThreshold(x, quantile);
  const values = Array.from(x);
  const chosen = values.map((value) => value >= theta);
  const y = values.map((value, j) => (mode === 'soft' ? Math.max(value - theta, 0) : chosen[j] ? value : 0));
  return { y, kept: chosen.filter(Boolean).length };
}

export function activationOf(activation: Activation, x: number): number {
  switch (activation) {
    case 'silu':
      return x / (1 + Math.exp(-x));
    case 'gelu':
      return (x / 2) * (1 + erf(x / Math.SQRT2));
    case 'gelu_tanh':
      return (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
    case 'relu':
    case 'drelu':
      return Math.max(x, 0);
  }
}

/** What act(gate) is multiplied with. */
function activatedUp(activation: Activation, up: readonly number[]): readonly number[] {
  return activation === 'drelu' ? up.map((value) => Math.max(value, 0)) : up;
}

/** erf by its Taylor series; exact to about 1e-14 for the |x| < 5 that tests feed, 1 beyond. */
function erf(x: number): number {
  if (Math.abs(x) > 5) return Math.sign(x);
  let total = 0;
  let term = x;
  for (let n = 0; n < 120; n++) {
    total += term / (2 * n + 1);
    term *= -(x * x) / (n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * total;
}

/** Weights row by row: [d_ff][h], biases and norms as vectors. Gate may read the first entries of x alone, and up the others. */
export interface FfnWeights {
  readonly gate: readonly Vector[];
  readonly up: readonly Vector[];
  readonly down: readonly Vector[];
  readonly gateBias?: Vector;
  readonly upBias?: Vector;
  readonly downBias?: Vector;
  readonly postNorm?: { readonly weight: Vector; readonly epsilon: number };
}

export interface FfnChoice {
  readonly activation: Activation;
  readonly choice: NeuronChoice | undefined;
  readonly threshold?: number;
  readonly weights?: Vector;
  readonly quantile?: number;
  /** Of measures predicted and nested: what is predicted by, as numbers. */
  readonly predictor?: { readonly gate: readonly Vector[]; readonly up: readonly Vector[] };
}

/** One active token of GatedFFN: y [h], y before its norm, the number of neurons chosen, and act(gate) of those, else 0. */
export function gatedFfnToken(
  x: Vector,
  ffn: FfnWeights,
  choice: FfnChoice,
): { y: number[]; raw: number[]; kept: number; act: number[] } {
  const parts = partsOf(x, ffn);
  const act = chosenActivations(parts, ffn, choice);
  const raw = Array.from(x, (_, i) => ffn.downBias?.[i] ?? 0);
  const up = activatedUp(choice.activation, projected(ffn.up, parts.up, ffn.upBias));
  times(act.values, up).forEach((product, j) => {
    for (let i = 0; i < raw.length; i++) raw[i] += product * ffn.down[j][i];
  });
  return { y: ffn.postNorm === undefined ? raw : rmsNorm(raw, ffn.postNorm), raw, kept: act.kept, act: act.values };
}

/** What of x gate and up are multiplied with. */
interface Parts {
  readonly gate: Vector;
  readonly up: Vector;
}

/** All of it, or where gate is narrower the first entries and the others. */
export function partsOf(x: Vector, { gate }: Pick<FfnWeights, 'gate'>): Parts {
  const width = gate[0].length;
  if (width === x.length) return { gate: x, up: x };
  return { gate: Array.from(x).slice(0, width), up: Array.from(x).slice(width) };
}

/** activation(gate), 0 where a neuron is not chosen. */
function chosenActivations(parts: Parts, ffn: FfnWeights, wanted: FfnChoice): { values: number[]; kept: number } {
  const { activation, choice, quantile = 0, threshold = 0 } = wanted;
  const gate = projected(ffn.gate, parts.gate, ffn.gateBias);
  const values = gate.map((value) => activationOf(activation, value));
  if (choice === undefined) return { values, kept: gate.length };
  if (choice.cut === 'deviation') {
    const { y, kept } = statisticalTopKRow(gate, quantile, choice.mode);
    return { values: y.map((value) => activationOf(activation, value)), kept };
  }
  const scores = neuronScores(measured(choice, parts, ffn, wanted, gate), wanted.weights ?? []);
  const limit = choice.cut === 'absolute' ? threshold : (threshold * sum(scores)) / scores.length;
  const chosen = scores.map((score) => score >= limit);
  return { values: values.map((value, j) => (chosen[j] ? value : 0)), kept: chosen.filter(Boolean).length };
}

/** What neurons are measured by, without their weights. */
function measured(
  { measure }: NeuronChoice,
  parts: Parts,
  ffn: FfnWeights,
  { activation, predictor }: FfnChoice,
  gate: readonly number[],
): readonly number[] {
  const act = (values: readonly number[]) => values.map((value) => activationOf(activation, value));
  switch (measure) {
    case 'gate':
      return gate;
    case 'activation':
      return act(gate);
    case 'product':
      return times(act(gate), activatedUp(activation, projected(ffn.up, parts.up, ffn.upBias)));
    case 'predicted':
    case 'nested':
      if (predictor === undefined) throw new RangeError(`Measure ${measure} needs what it predicts by`);
      return times(
        act(projected(predictor.gate, parts.gate, ffn.gateBias)),
        activatedUp(activation, projected(predictor.up, parts.up, ffn.upBias)),
      );
  }
}

function projected(rows: readonly Vector[], x: Vector, bias: Vector | undefined): number[] {
  return rows.map((row, j) => dot(row, x) + (bias?.[j] ?? 0));
}

function times(a: readonly number[], b: readonly number[]): number[] {
  return a.map((value, j) => value * b[j]);
}

/** |measure_j| * weights_j. */
export function neuronScores(measure: readonly number[], weights: Vector): number[] {
  return measure.map((value, j) => Math.abs(value) * weights[j]);
}

/** cos(residual, residual + y); 0 where either is a zero vector. */
export function saturationOf(residual: Vector, y: Vector): number {
  const after = Array.from(residual, (value, i) => value + y[i]);
  const norms = Math.sqrt(dot(residual, residual) * dot(after, after));
  return norms === 0 ? 0 : dot(residual, after) / norms;
}

export interface SkipRule {
  readonly runLength: number;
  readonly reArm: boolean;
  readonly threshold: number;
}

/** FFNSkipStart for one token. */
export function skipStart(position: number, warmUpTokens: number): number {
  return position < warmUpTokens ? -1 : 0;
}

/** FFNSkipStep for one token. */
export function skipStep(state: number, saturation: number, { runLength, reArm, threshold }: SkipRule): number {
  if (state > 1) return state - 1;
  if (state === 1) return reArm ? 0 : -1;
  return state === 0 && saturation >= threshold ? runLength : state;
}

function rmsNorm(x: readonly number[], { weight, epsilon }: { weight: Vector; epsilon: number }): number[] {
  const scale = 1 / Math.sqrt(dot(x, x) / x.length + epsilon);
  return x.map((value, i) => value * scale * weight[i]);
}

export function dot(a: Vector, b: Vector): number {
  return sum(Array.from(a, (value, i) => value * b[i]));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Attention of one query to the keys that it sees; the first `predictorSize` entries of each score. */
export interface SparkQuery {
  readonly query: Vector;
  readonly keys: readonly Vector[];
  readonly values: readonly Vector[];
  readonly predictorSize: number;
  /** Q(1 - k / n), or the least float32 where every key passes. */
  readonly quantile: number;
  /** 0: none. */
  readonly softcap: number;
}

/** One head of SparkAttention for one token, without positions; `margin` is the least distance of a score from its threshold. */
export function sparkAttentionHead({ query, keys, values, predictorSize: r, quantile, softcap }: SparkQuery) {
  const part = (vector: Vector, from: number, to: number) => Array.from(vector).slice(from, to);
  const product = (key: Vector, from: number, to: number) =>
    dot(part(query, from, to), part(key, from, to)) / Math.sqrt(to - from);
  const capped = (score: number) => (softcap === 0 ? score : softcap * Math.tanh(score / softcap));
  const scores = keys.map((key) => capped(product(key, 0, r)));
  const largest = Math.max(...scores);
  const theta = Math.min(statisticalThreshold(scores, quantile), largest);
  const chosen = scores.map((score) => score >= theta);
  const exps = scores.map((score, at) => (chosen[at] ? Math.exp(score - largest) : 0));
  const weights = exps.map((one, at) => {
    const other = product(keys[at], r, query.length);
    return (one / sum(exps)) * Math.log1p(Math.exp(other));
  });
  return {
    y: Array.from(values[0], (_, entry) => sum(weights.map((weight, at) => weight * values[at][entry]))),
    attended: chosen.filter(Boolean).length,
    margin: Math.min(...scores.filter((score) => score !== theta).map((score) => Math.abs(score - theta))),
  };
}
