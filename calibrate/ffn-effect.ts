/** What an error of each FFN block costs at the end of the model, measured by making one as an affine map would. */
import { cholesky, solveLower, solveUpper } from '../src/core/cholesky.ts';
import { EFFECT_STEP, effectOf } from '../src/core/ffn-effect.ts';
import { addSums, addToLayer, zeros } from './exact-sum.ts';
import { shareFactor } from './ffn-moments.ts';
import type { Statistic } from './statistic.ts';

/**
 * On the diagonal of the inputs' moments, as a share of its mean. What the fit leaves over is about as large as what maps
 * of low rank get wrong in real models.
 */
const RIDGE = 0.5;

/** Tokens that are fitted together. More would take longer, by the third power, and say no more. */
const FITTED = 512;

/** The first token's stream is a thousand times as long as others in some models, and plans spare it. */
const FIRST = 1;

/** Shares and nats of a sequence are below 2^12, and 2^-30 is below the rounding of what they are computed from. */
const FRACTION_BITS = 30;

export const ffnEffect: Statistic = {
  name: 'ffn-effect',
  definition:
    `In each ${EFFECT_STEP}th sequence, a copy goes on from each layer with y' = mean + W (x - mean x) in place of y, what its ` +
    `FFN block adds to the residual stream h, for all tokens but the first. x: the normed input of the block; W: the ridge ` +
    `regression of y on x over these tokens, ${FITTED} at a time, the ridge ${RIDGE} of the mean variance of x; each token ` +
    "counts a = 1 / (mean square of h + y, + 1e-6). moved: the sum of a ‖y' - y‖² / hidden size, and the count of these tokens. divergence: the sum of " +
    'KL(model ‖ copy) over each fourth position at the head, in nats, and the count of these positions',
  taps: ['ffn_in', 'ffn_residual', 'ffn_out'],
  onRequest: true,

  empty: ({ spec: { numHiddenLayers: layers } }) => ({ moved: zeros(layers, 2), divergence: zeros(layers, 2) }),
  add() {},
  detour: {
    takes: (sequence) => sequence % EFFECT_STEP === 0,
    leave(sums, layer, { ffn_in: x, ffn_residual: stream, ffn_out: added }, { spec: { hiddenSize: hidden }, tokens }) {
      const factors = Float64Array.from({ length: tokens }, (_, token) =>
        token < FIRST ? 0 : shareFactor(stream, added, token * hidden, hidden),
      );
      const changed = fitted(x, added, factors);
      const moved = factors.reduce(
        (sum, factor, token) => sum + (factor * distance(added, changed, token * hidden, hidden)) / hidden,
        0,
      );
      addToLayer(sums, 'moved', layer, Float64Array.of(moved, Math.max(0, tokens - FIRST)), FRACTION_BITS);
      return changed;
    },
    arrive(sums, layer, nats, positions) {
      addToLayer(sums, 'divergence', layer, Float64Array.of(nats, positions), FRACTION_BITS);
    },
  },

  merge: (a, b) => addSums(a, b),
  finish: (sums, layer) => ({ ffnEffect: effectOf(sums, layer) }),
};

/** What a ridge regression on x makes of y, both [tokens, hidden], by these factors; y where they are 0. */
function fitted(x: Float32Array, y: Float32Array, factors: Float64Array): Float32Array {
  const hidden = y.length / factors.length;
  const result = y.slice();
  const counted = [...factors.keys()].filter((token) => factors[token] > 0);
  for (let first = 0; first < counted.length; first += FITTED) {
    const tokens = counted.slice(first, first + FITTED);
    const total = tokens.reduce((sum, token) => sum + factors[token], 0);
    const roots = tokens.map((token) => Math.sqrt(factors[token] / total));
    const [inputs, outputs] = [x, y].map((rows) => centred(rows, tokens, roots, hidden));
    const left = leftOver(inputs, outputs, tokens.length, hidden);
    for (const [row, token] of tokens.entries())
      for (let i = 0; i < hidden; i++) result[token * hidden + i] -= left[row * hidden + i] / roots[row];
  }
  return result;
}

/** Rows of some tokens less their mean, times these roots. The mean is by the squares of the roots, which sum up to 1. */
function centred(
  rows: Float32Array,
  tokens: readonly number[],
  roots: readonly number[],
  hidden: number,
): Float64Array {
  const mean = new Float64Array(hidden);
  for (const [row, token] of tokens.entries())
    for (let i = 0; i < hidden; i++) mean[i] += roots[row] ** 2 * rows[token * hidden + i];
  const result = new Float64Array(tokens.length * hidden);
  for (const [row, token] of tokens.entries())
    for (let i = 0; i < hidden; i++) result[row * hidden + i] = roots[row] * (rows[token * hidden + i] - mean[i]);
  return result;
}

/**
 * Y - X W of the ridge regression W = (XᵀX + ridge)⁻¹ XᵀY, which is ridge (XXᵀ + ridge)⁻¹ Y: of sequences that are shorter
 * than the stream is wide, the smaller system.
 */
function leftOver(x: Float64Array, y: Float64Array, tokens: number, hidden: number): Float64Array {
  const products = new Float64Array(tokens * tokens);
  for (let a = 0; a < tokens; a++)
    for (let b = 0; b <= a; b++) products[a * tokens + b] = inner(x, a * hidden, b * hidden, hidden);
  let trace = 0;
  for (let a = 0; a < tokens; a++) trace += products[a * tokens + a];
  // Inputs that are all the same explain nothing.
  const ridge = trace > 0 ? (RIDGE * trace) / hidden : 1;
  for (let a = 0; a < tokens; a++) products[a * tokens + a] += ridge;
  const lower = cholesky(products, tokens);
  const solved = solveUpper(lower, solveLower(lower, y, tokens, hidden), tokens, hidden);
  return solved.map((value) => ridge * value);
}

function inner(x: Float64Array, a: number, b: number, width: number): number {
  let sum = 0;
  for (let i = 0; i < width; i++) sum += x[a + i] * x[b + i];
  return sum;
}

/** ‖a - b‖² of one row. */
function distance(a: Float32Array, b: Float32Array, from: number, width: number): number {
  let squares = 0;
  for (let i = from; i < from + width; i++) squares += (a[i] - b[i]) ** 2;
  return squares;
}
