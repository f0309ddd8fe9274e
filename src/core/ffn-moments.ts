/**
 * Second moments of an FFN block: of its input x and of y, what it adds to the stream. Calibration sums them, plans fit
 * linear maps by them. A sample of the tokens says what sums cannot: how much of them one threshold or another lets through.
 */
import { LacunaError } from './errors.ts';
import { type Sums, sumData } from './statistics.ts';
import { fillSymmetric, triangleSize } from './wide-sums.ts';

/** One token of this many is in the sample. */
export const SAMPLE_STEP = 8;

/** Of x, y and 1, side by side. */
export function jointWidth(hidden: number): number {
  return 2 * hidden + 1;
}

/** Positions of a sequence that are in the sample: each sequence starts at another, so that all positions are. */
export function sampledPositions(sequence: number, length: number): number[] {
  const first = sequence % SAMPLE_STEP;
  return Array.from(
    { length: Math.max(0, Math.ceil((length - first) / SAMPLE_STEP)) },
    (_, i) => first + i * SAMPLE_STEP,
  );
}

/** Tokens count by their factors, as calibrate/ffn-moments.ts defines them. Matrices are row by row, [h, h] each. */
export interface FfnMoments {
  readonly hidden: number;
  readonly meanX: Float64Array;
  readonly meanY: Float64Array;
  /** Means over tokens of (x - meanX) (x - meanX)ᵀ and of (x - meanX) (y - meanY)ᵀ. */
  readonly xx: Float64Array;
  readonly xy: Float64Array;
  /** The mean of ‖y - meanY‖², and of ‖y‖². */
  readonly variance: number;
  readonly square: number;
}

/** Tokens of a sample: x and y, [tokens, h], and each token's position and factor. */
export interface FfnSample {
  readonly positions: Uint32Array;
  readonly factors: Float64Array;
  readonly x: Float32Array;
  readonly y: Float32Array;
}

/** Reads a layer's sums of the statistic `ffn-moments`. Throws `bad-file` for sums of another shape and for none. */
export function readFfnMoments(sums: Sums, hidden: number): FfnMoments {
  const width = jointWidth(hidden);
  const triangle = sumData(sums, 'moments', 'float64', [2, triangleSize(width)]);
  const joint = fillSymmetric(new Float64Array(width * width), triangle, width);
  const total = joint[width * width - 1];
  if (!(total > 0 && total < Number.POSITIVE_INFINITY))
    throw new LacunaError('bad-file', `The moments of an FFN block have ${total} tokens, wanted more than 0`, {
      hint: 'Measure again with lacuna calibrate --with ffn-moments.',
    });
  const means = Float64Array.from({ length: width }, (_, i) => joint[(width - 1) * width + i] / total);
  const moment = (i: number, j: number) => joint[i * width + j] / total;
  const xx = new Float64Array(hidden * hidden);
  const xy = new Float64Array(hidden * hidden);
  let [variance, square] = [0, 0];
  for (let i = 0; i < hidden; i++) {
    for (let j = 0; j < hidden; j++) {
      xx[i * hidden + j] = moment(i, j) - means[i] * means[j];
      xy[i * hidden + j] = moment(i, hidden + j) - means[i] * means[hidden + j];
    }
    const own = moment(hidden + i, hidden + i);
    square += own;
    variance += Math.max(0, own - means[hidden + i] ** 2);
  }
  return { hidden, meanX: means.slice(0, hidden), meanY: means.slice(hidden, 2 * hidden), xx, xy, variance, square };
}

/** Reads a layer's sample. Throws `bad-file` where its parts do not fit together. */
export function readFfnSample(sums: Sums, hidden: number): FfnSample {
  const width = jointWidth(hidden);
  const sequences = sumData(sums, 'sequence', 'uint32', [-1]);
  const lengths = sumData(sums, 'length', 'uint32', [sequences.length]);
  const positions = Uint32Array.from(
    Array.from(sequences, (sequence, i) => sampledPositions(sequence, lengths[i])).flat(),
  );
  const rows = widened(sumData(sums, 'sample', 'uint16', [positions.length, width]));
  const x = new Float32Array(positions.length * hidden);
  const y = new Float32Array(positions.length * hidden);
  const factors = new Float64Array(positions.length);
  for (let token = 0; token < positions.length; token++) {
    const row = rows.subarray(token * width, (token + 1) * width);
    x.set(row.subarray(0, hidden), token * hidden);
    y.set(row.subarray(hidden, 2 * hidden), token * hidden);
    factors[token] = row[2 * hidden];
  }
  if (!rows.every(Number.isFinite))
    throw new LacunaError('bad-file', 'The sample of an FFN block has values that are no numbers', {
      hint: 'Measure again with lacuna calibrate --with ffn-moments.',
    });
  return { positions, factors, x, y };
}

/** The bits of the nearest bfloat16 numbers: their error is far below what a map gets wrong. */
export function narrowBits(floats: Float32Array): Uint16Array {
  const bits = new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
  // To nearest, halves to even: the carry goes into the exponent as it should.
  return new Uint16Array(bits.map((word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16));
}

function widened(bits: Uint16Array): Float32Array {
  return new Float32Array(new Uint32Array(bits).map((half) => half << 16).buffer);
}
