/** Evaluates tables of cosines and sines. */
import type { WavesTensor } from '../core/tensor.ts';

const { fround } = Math;

/** Fills `values` with whole rows of a table, from row `firstRow` on. */
export function fillWaves({ wave, frequencies, scale }: WavesTensor, firstRow: number, values: Float32Array): void {
  const columns = frequencies.length;
  const compute = Math[wave];
  for (let start = 0, row = firstRow; start < values.length; start += columns, row++)
    for (let i = 0; i < columns; i++) values[start + i] = fround(compute(fround(row * frequencies[i]))) * scale;
}
