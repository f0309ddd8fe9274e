/** The mean square of each input, by the weights that multiply it. Conversion weighs rounding errors by it. */
import { HEAD_WEIGHT } from '../src/core/model.ts';
import { type Statistics, sumData, sumsOf } from '../src/core/statistics.ts';
import { type BytesTensor, float32Tensor } from '../src/core/tensor.ts';
import { wideValues } from './exact-sum.ts';
import { inputMoments } from './input-moments.ts';
import { LINEAR_INPUTS } from './linear-inputs.ts';

/**
 * By the weight's name in Transformers: the mean square of each of its inputs, float32 [columns].
 *
 * Throws `bad-file` for statistics without input moments.
 */
export function importanceOf(statistics: Statistics): Map<string, BytesTensor> {
  const { tokens, model } = statistics;
  const moments = sumsOf(statistics, inputMoments.name);
  const importance = new Map<string, BytesTensor>();
  const mean = (squares: Float64Array) => float32Tensor(squares.map((square) => square / tokens));
  for (const { name, readers } of LINEAR_INPUTS) {
    const squares = wideValues(sumData(moments, name, 'float64', [2, model.numHiddenLayers, -1]));
    const width = squares.length / model.numHiddenLayers;
    for (let layer = 0; layer < model.numHiddenLayers; layer++) {
      const tensor = mean(squares.subarray(layer * width, (layer + 1) * width));
      for (const weight of readers(layer)) importance.set(weight, tensor);
    }
  }
  return importance.set(HEAD_WEIGHT, mean(wideValues(sumData(moments, 'head_in', 'float64', [2, model.hiddenSize]))));
}
