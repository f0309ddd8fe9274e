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

/** Variance of an angle by rounding to levels, at least a cosine's. No profile is taken to be known better. */
export const FINEST_VARIANCE = (Math.PI / MAX_LEVEL) ** 2 / 12;

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

/** "1 to 5", for after "layers"; undefined for a region without a layer, as models of two layers have it. */
export function regionText({ start, end }: Region): string | undefined {
  return end > start ? `${start} to ${end - 1}` : undefined;
}

/** The layers but the first and the last, which are always cold. */
export function innerLayers(layers: number): Region {
  return { start: 1, end: Math.max(1, layers - 1) };
}

/** The share of variance that a split in two must explain. An even slope's halves explain 0.75 to 0.8 of it. */
const STANDS_APART = 0.9;

/** A region needs a block to test and one to skip. */
export const SMALLEST_REGION = 2;

/**
 * The layers of high mean cosine between cold ones, `fewest` at least where there are so many. The paper takes the middle
 * run in which similarity rises, but real profiles dip and fall.
 *
 * First, layers that stand apart are cold wherever they are: Otsu (1979) splits the inner angles in two groups, which
 * count if they explain nine tenths of the variance, and the longest run of the lower group is left. Then cold layers at
 * its ends are told from warm ones between: of all profiles of one level, or with a higher level before it, after it or
 * both, the one with the lowest BIC (Schwarz, 1978; Yao, 1988), where every level and every border is a parameter.
 */
export function saturatedRegion(cosines: readonly number[], fewest = SMALLEST_REGION): Region {
  const angles = cosines.map((cosine) => Math.acos(Math.min(1, Math.max(-1, cosine))));
  return warmPart(angles, longestRun(angles, innerLayers(angles.length)), fewest);
}

/** The first of the longest runs within `inner` of angles that do not stand apart. */
function longestRun(angles: readonly number[], inner: Region): Region {
  const limit = limitOfLow(angles.slice(inner.start, inner.end));
  let best: Region = { start: inner.start, end: inner.start };
  let { start } = inner;
  for (let layer = start; layer <= inner.end; layer++) {
    if (layer < inner.end && angles[layer] <= limit) continue;
    if (layer - start > best.end - best.start) best = { start, end: layer };
    start = layer + 1;
  }
  return best;
}

/** The largest value that does not stand apart from the lower ones. */
function limitOfLow(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const whole = spread(sorted);
  let limit = Number.POSITIVE_INFINITY;
  let most = STANDS_APART;
  // Any two values are two groups of no variance.
  for (let count = 1; count < sorted.length && sorted.length > 2; count++) {
    const within = spread(sorted.slice(0, count)) + spread(sorted.slice(count));
    const explained = (whole - within) / Math.max(whole, sorted.length * FINEST_VARIANCE);
    if (explained > most) {
      most = explained;
      limit = sorted[count - 1];
    }
  }
  return limit;
}

/** The part of `run` that lies between higher levels, by the lowest BIC. All of it where none has `fewest` layers. */
function warmPart(angles: readonly number[], run: Region, fewest: number): Region {
  const size = run.end - run.start;
  let best = { ...run, bic: Number.POSITIVE_INFINITY };
  for (let { start } = run; start < run.end; start++) {
    for (let { end } = run; end > start; end--) {
      if (end - start < fewest) continue;
      const cold = [angles.slice(run.start, start), angles.slice(end, run.end)].filter(({ length }) => length > 0);
      const warm = angles.slice(start, end);
      if (cold.some((level) => mean(level) <= mean(warm))) continue;
      const residual = [warm, ...cold].reduce((sum, level) => sum + spread(level), 0) / size;
      const bic = size * Math.log(Math.max(FINEST_VARIANCE, residual)) + (2 * cold.length + 1) * Math.log(size);
      if (bic < best.bic) best = { start, end, bic };
    }
  }
  return { start: best.start, end: best.end };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Sum of squared distances from the mean. */
function spread(values: readonly number[]): number {
  const middle = mean(values);
  return values.reduce((sum, value) => sum + (value - middle) ** 2, 0);
}

/** Below this rank, cosines do not rise with depth as the greedy rule assumes: that later layers are as saturated. */
const RISING_RANK = 0.5;

/** Whether mean cosines of a region rise with depth, by their `spearman`. */
export function risesWithDepth(rank: number | undefined): boolean {
  return rank !== undefined && rank >= RISING_RANK;
}

/** FFN-SkipLLM was shown on 32 layers and more. The fewer layers there are, the more each one counts. */
const SHALLOW_LAYERS = 24;

/**
 * What FFN-SkipLLM takes for granted and a model does not show, in sentences. `rank` is the region's; `instead` is what is
 * done where cosines do not rise. A region without a layer neither rises nor falls.
 */
export function skippingDoubts(layers: number, region: Region, rank: number | undefined, instead: string): string[] {
  const shallow =
    `The model has ${layers} layers. Skipping FFN blocks was shown to be harmless on models of 32 and more; below ` +
    `${SHALLOW_LAYERS}, each block counts for much.`;
  const warm = regionText(region);
  const falling =
    `Mean cosines do not rise over layers ${warm} (Spearman ${rank?.toFixed(2) ?? 'undefined'}), as the ` +
    `rule assumes that skips blocks untested. ${instead}`;
  return [
    ...(layers < SHALLOW_LAYERS ? [shallow] : []),
    ...(warm === undefined || risesWithDepth(rank) ? [] : [falling]),
  ];
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
