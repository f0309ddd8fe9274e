/** The sums of values that a test makes up, without a model. */
import type { Statistic, TapValues } from '../statistic.ts';
import { SPEC, squareOf } from './double.ts';

const NONE = new Float32Array(0);
/** Values of no token. */
export const NO_TAPS: TapValues = {
  attn_in: NONE,
  attended: NONE,
  ffn_residual: NONE,
  ffn_in: NONE,
  gate: NONE,
  up: NONE,
  act: NONE,
  ffn_out: NONE,
};

/** The sums of one sequence in `layer`, by default the first, which is the model's last. */
export function measure(
  statistic: Statistic,
  size: { hidden?: number; neurons?: number; tokens: number; layer?: number },
  taps: Partial<TapValues>,
  downNorms = new Float64Array(size.neurons ?? 0).fill(1),
) {
  const { tokens, layer = 0, hidden = 1, neurons = 1 } = size;
  const spec = { ...SPEC, numHiddenLayers: layer + 1, hiddenSize: hidden, intermediateSize: neurons };
  const sums = statistic.empty({ spec, tokens, sequences: [{ index: 0, tokens }] });
  statistic.add(sums, layer, { ...NO_TAPS, ...taps }, { spec, tokens, firstToken: 0, downNorms, square: squareOf });
  return sums;
}
