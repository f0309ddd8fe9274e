/** What an error of each FFN block costs at the end of the model, measured by making one. */
import { EFFECT_STEP, effectOf } from '../src/core/ffn-effect.ts';
import { addSums, addToLayer, zeros } from './exact-sum.ts';
import { shareFactor } from './ffn-moments.ts';
import type { Statistic } from './statistic.ts';

/**
 * Of the way to the mean. Errors of a tenth to a fifth of the stream's length come of it in real models, as maps of low
 * rank make them. Larger ones cost less each, because softmax and norms bound what can happen.
 */
const MOVED = 0.4;

/** The first token's stream is a thousand times as long as others in some models, and plans spare it. */
const FIRST = 1;

/** Shares and nats of a sequence are below 2^12, and 2^-30 is below the rounding of what they are computed from. */
const FRACTION_BITS = 30;

export const ffnEffect: Statistic = {
  name: 'ffn-effect',
  definition:
    `In each ${EFFECT_STEP}th sequence, a copy goes on from each layer with y' = y + ${MOVED} (mean - y) in place of y, what its ` +
    `FFN block adds to the residual stream h, for all tokens but the first; mean: of these tokens' y, each ` +
    "times a = 1 / (mean square of h + y, + 1e-6). moved: the sum of a ‖y' - y‖² / hidden size, and the count of these tokens. divergence: the sum of " +
    'KL(model ‖ copy) over each fourth position at the head, in nats, and the count of these positions',
  taps: ['ffn_residual', 'ffn_out'],
  onRequest: true,

  empty: ({ spec: { numHiddenLayers: layers } }) => ({ moved: zeros(layers, 2), divergence: zeros(layers, 2) }),
  add() {},
  detour: {
    takes: (sequence) => sequence % EFFECT_STEP === 0,
    leave(sums, layer, { ffn_residual: stream, ffn_out: added }, { spec: { hiddenSize: hidden }, tokens }) {
      const factors = Float64Array.from({ length: tokens }, (_, token) =>
        token < FIRST ? 0 : shareFactor(stream, added, token * hidden, hidden),
      );
      const changed = movedToMean(added, factors);
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

/** Rows, each a part of the way to the mean by these factors; those of factor 0 as they are. */
function movedToMean(rows: Float32Array, factors: Float64Array): Float32Array {
  const width = rows.length / factors.length;
  const total = factors.reduce((sum, factor) => sum + factor, 0);
  const means = new Float64Array(width);
  for (let i = 0; i < rows.length; i++) means[i % width] += (factors[Math.floor(i / width)] / total) * rows[i];
  return rows.map((value, i) =>
    factors[Math.floor(i / width)] === 0 ? value : value + MOVED * (means[i % width] - value),
  );
}

/** ‖a - b‖² of one row. */
function distance(a: Float32Array, b: Float32Array, from: number, width: number): number {
  let squares = 0;
  for (let i = from; i < from + width; i++) squares += (a[i] - b[i]) ** 2;
  return squares;
}
