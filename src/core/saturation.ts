/**
 * How saturated FFN blocks are: the trace of cosines that calibration records, and what is read from it. A cosine is
 * always cos(h, h + FFN(norm h)) (FFN-SkipLLM, section 3). Without the residual the numbers mean something else.
 */
import { LacunaError } from './errors.ts';
import { type Statistics, sumData, sumsOf } from './statistics.ts';

/** Angles, not cosines, in steps of pi / 65535: of the thresholds near cosine 1, some 930 levels lie above 0.999. */
export const MAX_LEVEL = 65535;

/** The level of a cosine: 0 where nothing turned, 65535 where the sign did. */
export function levelOfCosine(cosine: number): number {
  return Math.round((Math.acos(Math.min(1, Math.max(-1, cosine))) * MAX_LEVEL) / Math.PI);
}

export function cosineOfLevel(level: number): number {
  return Math.cos((level * Math.PI) / MAX_LEVEL);
}

/** Every token's cosine in every layer, with the sequences that the tokens belong to. */
export interface SaturationTrace {
  readonly layers: number;
  readonly tokens: number;
  /** [layers, tokens], tokens in the order of their sequences. */
  readonly levels: Uint16Array;
  readonly positions: Uint32Array;
}

/** Reads the trace from statistics. Throws `bad-file` when its parts do not fit together. */
export function readTrace(statistics: Statistics): SaturationTrace {
  const layers = statistics.model.numHiddenLayers;
  const { tokens } = statistics;
  const sums = sumsOf(statistics, 'saturation');
  const levels = sumData(sums, 'trace', 'uint16', [layers, tokens]);
  const lengths = sumData(sums, 'length', 'uint32', [statistics.sequences.length]);
  const total = lengths.reduce((sum, length) => sum + length, 0);
  if (total !== tokens)
    throw new LacunaError('bad-file', `The saturation trace has sequences of ${total} tokens in all, wanted ${tokens}`);
  const positions = new Uint32Array(tokens);
  let token = 0;
  for (const length of lengths) for (let position = 0; position < length; position++) positions[token++] = position;
  return { layers, tokens, levels, positions };
}

/** Mean cosine of each layer over tokens at positions from `fromPosition` on, or over all when none is that far. */
export function meanCosines(trace: SaturationTrace, fromPosition = 0): number[] {
  const { layers, tokens, levels, positions } = trace;
  const from = positions.some((position) => position >= fromPosition) ? fromPosition : 0;
  return Array.from({ length: layers }, (_, layer) => {
    let sum = 0;
    let count = 0;
    for (let token = 0; token < tokens; token++) {
      if (positions[token] < from) continue;
      sum += cosineOfLevel(levels[layer * tokens + token]);
      count += 1;
    }
    return sum / count;
  });
}

/** Layers `start` to `end - 1` may be skipped; the others are cold. */
export interface Region {
  readonly start: number;
  readonly end: number;
}

/**
 * The longest run of layers with high mean cosine, the first of equally long ones, without first and last layer. The
 * paper takes the middle run in which similarity rises, but real profiles dip. So Otsu (1979) splits all mean angles in
 * two groups, and the lower counts as high cosine. If all are alike, it is all but the ends.
 */
export function saturatedRegion(cosines: readonly number[]): Region {
  const angles = cosines.map((cosine) => Math.acos(Math.min(1, Math.max(-1, cosine))));
  const limit = otsuLimit(angles);
  let best: Region = { start: 1, end: 1 };
  let start = 1;
  for (let layer = 1; layer < angles.length; layer++) {
    const inside = layer < angles.length - 1 && angles[layer] <= limit;
    if (inside) continue;
    if (layer - start > best.end - best.start) best = { start, end: layer };
    start = layer + 1;
  }
  return best;
}

/** The largest value of the lower group when values are split in two with the greatest variance between the groups. */
function otsuLimit(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const total = sorted.reduce((sum, value) => sum + value, 0);
  let limit = sorted[sorted.length - 1];
  let best = 0;
  let below = 0;
  for (let count = 1; count < sorted.length; count++) {
    below += sorted[count - 1];
    const above = sorted.length - count;
    const gap = (total - below) / above - below / count;
    const between = count * above * gap * gap;
    // A group ends where values differ. The margin covers rounding alone, so that a flat profile is not split.
    if (between > best && sorted[count] - sorted[count - 1] > 1e-9) {
      best = between;
      limit = sorted[count - 1];
    }
  }
  return limit;
}

/** Spearman's rank correlation of values with their order; ties share their rank. undefined if all are equal. */
export function spearman(values: readonly number[]): number | undefined {
  const ranks = values.map((value) => {
    const less = values.filter((other) => other < value).length;
    const equal = values.filter((other) => other === value).length;
    return less + (equal - 1) / 2;
  });
  const middle = (values.length - 1) / 2;
  let product = 0;
  let rankSquares = 0;
  let orderSquares = 0;
  ranks.forEach((rank, order) => {
    product += (rank - middle) * (order - middle);
    rankSquares += (rank - middle) ** 2;
    orderSquares += (order - middle) ** 2;
  });
  return rankSquares === 0 ? undefined : product / Math.sqrt(rankSquares * orderSquares);
}
