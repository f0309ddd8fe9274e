/**
 * Rotary position tables (Su et al. 2021) with the scalings that LLaMA and Mistral checkpoints use. Transformers
 * computes them in float32, so at long positions its angles carry float32's rounding, which is part of what the model
 * computes there. Every step below is rounded in the same way, in the same order; `number / tensor` is a product with
 * the reciprocal, as in PyTorch. Its power function is not correctly rounded: about one frequency in 150 differs in the
 * last bit. That moves an angle by as much as rounding the angle itself does.
 */
import { waves } from '../../src/core/tensor.ts';
import type { RopeConfig } from '../config/rope-config.ts';

const { fround } = Math;

/**
 * cos and sin of position * frequency: [positions, headDim / 2], filled up with columns that turn nothing, because
 * GroupQueryAttention takes steps of 8; heads are zero there.
 */
export function rotaryTables(rope: RopeConfig, headDim: number, positions: number) {
  const frequencies = [...inverseFrequencies(rope, headDim)];
  while (frequencies.length < rotaryColumns(headDim)) frequencies.push(0);
  const scale = fround(attentionFactor(rope));
  return { cos: waves('cos', positions, frequencies, scale), sin: waves('sin', positions, frequencies, scale) };
}

/** The same for a part of `width` entries that an operator turns which takes any width: [positions, width / 2]. */
export function partTables(rope: RopeConfig, width: number, positions: number) {
  const frequencies = [...inverseFrequencies(rope, width)];
  const scale = fround(attentionFactor(rope));
  return { cos: waves('cos', positions, frequencies, scale), sin: waves('sin', positions, frequencies, scale) };
}

/** Half of a head, rounded up to a multiple of 8: GroupQueryAttention rotates only heads of multiples of 16. */
export function rotaryColumns(headDim: number): number {
  return Math.ceil(headDim / 16) * 8;
}

/** The angle by which each pair of a head's dimensions turns from one position to the next, [headDim / 2]. */
export function inverseFrequencies(rope: RopeConfig, headDim: number): Float32Array {
  switch (rope.kind) {
    case 'default':
    // Within the context, a table can hold the angles. Beyond it the base grows with every token, while cached keys
    // keep the angles that they were given.
    case 'dynamic':
      return reciprocals(powers(rope.theta, headDim));
    case 'linear':
      return reciprocals(powers(rope.theta, headDim)).map((frequency) => frequency / fround(rope.factor));
    case 'llama3':
      return reciprocals(powers(rope.theta, headDim)).map((frequency) => llama3Frequency(rope, frequency));
    case 'yarn':
      return yarnFrequencies(rope, headDim);
  }
}

/** theta^(2i / headDim). */
function powers(theta: number, headDim: number): Float32Array {
  return Float32Array.from({ length: headDim / 2 }, (_, i) => fround(theta) ** fround((2 * i) / headDim));
}

function reciprocals(values: Float32Array): Float32Array {
  return values.map((value) => 1 / value);
}

/** Llama 3.1: low frequencies are divided by `factor`, high ones are kept, and a straight line lies between. */
function llama3Frequency(rope: Extract<RopeConfig, { kind: 'llama3' }>, frequency: number): number {
  const { factor, lowFreqFactor: low, highFreqFactor: high, originalMaxPositions } = rope;
  const waveLength = fround(fround(1 / frequency) * fround(2 * Math.PI));
  if (waveLength > fround(originalMaxPositions / low)) return fround(frequency / fround(factor));
  if (waveLength < fround(originalMaxPositions / high)) return frequency;
  const waves = fround(fround(1 / waveLength) * originalMaxPositions);
  const smooth = fround(fround(waves - fround(low)) / fround(high - low));
  const scaled = fround(fround(fround(1 - smooth) * frequency) / fround(factor));
  return fround(scaled + fround(smooth * frequency));
}

/** YaRN (Peng et al. 2023, section 3.2): dimensions that turn often keep their frequency, the others are divided. */
function yarnFrequencies(rope: Extract<RopeConfig, { kind: 'yarn' }>, headDim: number): Float32Array {
  const base = powers(rope.theta, headDim);
  const interpolated = reciprocals(base.map((power) => fround(rope.factor) * power));
  const [low, high] = yarnRange(rope, headDim);
  const width = fround(high === low ? 0.001 : high - low);
  return reciprocals(base).map((extrapolated, i) => {
    const ramp = Math.min(1, Math.max(0, fround(fround(i - fround(low)) / width)));
    const kept = fround(1 - ramp);
    return fround(fround(interpolated[i] * fround(1 - kept)) + fround(extrapolated * kept));
  });
}

/** The dimensions between which YaRN goes from keeping to dividing. */
function yarnRange(rope: Extract<RopeConfig, { kind: 'yarn' }>, headDim: number): readonly [number, number] {
  const dimension = (turns: number) =>
    (headDim * Math.log(rope.originalMaxPositions / (turns * 2 * Math.PI))) / (2 * Math.log(rope.theta));
  const low = dimension(rope.betaFast);
  const high = dimension(rope.betaSlow);
  const [from, to] = rope.truncate ? [Math.floor(low), Math.ceil(high)] : [low, high];
  return [Math.max(from, 0), Math.min(to, headDim - 1)];
}

/** The factor of cos and sin: 1, except for YaRN's correction of the attention's temperature. */
function attentionFactor(rope: RopeConfig): number {
  return rope.kind === 'yarn' ? rope.attentionFactor : 1;
}
