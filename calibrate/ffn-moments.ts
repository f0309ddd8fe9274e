/**
 * Second moments of FFN blocks, x and y together, and a sample of their tokens. Plans fit by them what may stand in a
 * block's place.
 */

import { LacunaError } from '../src/core/errors.ts';
import { jointWidth, narrowBits, SAMPLE_STEP, sampledPositions } from '../src/core/ffn-moments.ts';
import { type Sums, sumData } from '../src/core/statistics.ts';
import { triangleSize } from '../src/core/wide-sums.ts';
import { addWide, addWideSums, emptyWide } from './exact-sum.ts';
import type { Statistic, TapValues } from './statistic.ts';

/** Added to a mean square, as norms add their epsilon. */
const EPSILON = 1e-6;

export const ffnMoments: Statistic = {
  name: 'ffn-moments',
  definition:
    'G = sum over tokens of a z zᵀ, z = (x, y, 1): x the normed input of the FFN block, y what the block adds to the residual ' +
    'stream h, after any post-FFN norm; a = 1 / (mean square of h + y, + 1e-6), so that errors count as shares of the ' +
    'stream; the rows of the lower triangle, in two parts that add up: multiples of 2^16, and the rest. sample: the bfloat16 ' +
    `bits of (x, y, a) of each ${SAMPLE_STEP}th token of a sequence, from the position (sequence mod ${SAMPLE_STEP}) on`,
  taps: ['ffn_in', 'ffn_residual', 'ffn_out'],
  byLayer: true,
  onRequest: true,
  usesRuntime: true,

  empty: ({ spec, sequences }) => {
    const sampled = sequences.reduce((sum, { index, tokens }) => sum + sampledPositions(index, tokens).length, 0);
    const width = jointWidth(spec.hiddenSize);
    return {
      moments: emptyWide([triangleSize(width)]),
      sample: { shape: [sampled, width], data: new Uint16Array(sampled * width) },
      sequence: { shape: [sequences.length], data: Uint32Array.from(sequences, ({ index }) => index) },
      length: { shape: [sequences.length], data: Uint32Array.from(sequences, ({ tokens }) => tokens) },
    };
  },

  async add(sums, _layer, taps, { spec, tokens, firstToken, square }) {
    const width = jointWidth(spec.hiddenSize);
    const rows = jointRows(taps, tokens, spec.hiddenSize);
    keepSample(sums, rows, firstToken, width);
    const matrix = await square(weighed(rows, width), width);
    const triangle = sumData(sums, 'moments', 'float64', [2, triangleSize(width)]);
    for (let row = 0; row < width; row++)
      addWide(triangle, triangleSize(row), matrix.subarray(row * width, row * width + row + 1));
  },

  merge: (a, b) =>
    Object.keys(a).length === 0 ? {} : { ...addWideSums(moments(a), moments(b)), ...mergeSamples(a, b) },

  finish: () => ({}),
};

function moments({ moments }: Sums): Sums {
  return { moments };
}

/** (x, y, a) of each token. */
function jointRows(
  { ffn_in: x, ffn_out: y, ffn_residual: h }: TapValues,
  tokens: number,
  hidden: number,
): Float32Array {
  const width = jointWidth(hidden);
  const rows = new Float32Array(tokens * width);
  for (let token = 0; token < tokens; token++) {
    const from = token * hidden;
    rows.set(x.subarray(from, from + hidden), token * width);
    rows.set(y.subarray(from, from + hidden), token * width + hidden);
    rows[token * width + 2 * hidden] = shareFactor(h, y, from, hidden);
  }
  return rows;
}

/** By which an error of one token counts as a share of the stream after the block, [from, from + hidden) of both. */
export function shareFactor(h: Float32Array, y: Float32Array, from: number, hidden: number): number {
  let squares = 0;
  for (let i = from; i < from + hidden; i++) squares += (h[i] + y[i]) ** 2;
  return 1 / (squares / hidden + EPSILON);
}

/** The same by the stream after the block. */
export function streamFactor(after: Float32Array, from: number, hidden: number): number {
  let squares = 0;
  for (let i = from; i < from + hidden; i++) squares += after[i] ** 2;
  return 1 / (squares / hidden + EPSILON);
}

/** (x, y, 1) times the square root of a: their products are what is summed. */
function weighed(rows: Float32Array, width: number): Float32Array {
  const result = rows.slice();
  for (let start = 0; start < rows.length; start += width) {
    const root = Math.sqrt(rows[start + width - 1]);
    for (let i = start; i < start + width - 1; i++) result[i] *= root;
    result[start + width - 1] = root;
  }
  return result;
}

/** Puts the sampled tokens of the sequence that begins at `firstToken` to their places. */
function keepSample(sums: Sums, rows: Float32Array, firstToken: number, width: number): void {
  const part = sampleParts(sums).find((one) => one.firstToken === firstToken);
  if (part === undefined) throw new RangeError(`No sequence begins at token ${firstToken}`);
  const sample = sumData(sums, 'sample', 'uint16', [-1, width]);
  for (const [i, position] of sampledPositions(part.sequence, part.length).entries())
    sample.set(narrowBits(rows.subarray(position * width, (position + 1) * width)), (part.first + i) * width);
}

/** Where each sequence lies in a sample. */
function sampleParts(sums: Sums) {
  const sample = sumData(sums, 'sample', 'uint16', [-1, -1]);
  const sequences = sumData(sums, 'sequence', 'uint32', [-1]);
  const lengths = sumData(sums, 'length', 'uint32', [sequences.length]);
  const [, width] = sums.sample.shape;
  let [firstToken, first] = [0, 0];
  return Array.from(sequences, (sequence, i) => {
    const count = sampledPositions(sequence, lengths[i]).length;
    const rows = sample.subarray(first * width, (first + count) * width);
    const part = { sequence, length: lengths[i], firstToken, first, rows, width };
    firstToken += lengths[i];
    first += count;
    return part;
  });
}

/** All sequences of both, in the order of their indices. */
function mergeSamples(a: Sums, b: Sums): Sums {
  const parts = [...sampleParts(a), ...sampleParts(b)].sort((x, y) => x.sequence - y.sequence);
  const twice = parts.find(({ sequence }, i) => i > 0 && sequence === parts[i - 1].sequence);
  if (twice !== undefined)
    throw new LacunaError('mismatch', `Sequence ${twice.sequence} is in both statistics, wanted disjoint shards`, {
      hint: 'Merge each shard once.',
    });
  const width = a.sample.shape[1];
  const sample = new Uint16Array(parts.reduce((sum, { rows }) => sum + rows.length, 0));
  let end = 0;
  for (const { rows } of parts) {
    sample.set(rows, end);
    end += rows.length;
  }
  return {
    sample: { shape: [sample.length / width, width], data: sample },
    sequence: { shape: [parts.length], data: Uint32Array.from(parts, ({ sequence }) => sequence) },
    length: { shape: [parts.length], data: Uint32Array.from(parts, ({ length }) => length) },
  };
}
