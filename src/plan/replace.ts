/**
 * The `replace` preset: in place of whole FFN blocks an affine map of low rank. With a gate, the map computes only
 * the tokens that it was fitted to best, which the gate tells by the block's own input.
 */
import * as z from 'zod';
import type { ArrivingTokens, Products } from '../core/arriving.ts';
import { LacunaError } from '../core/errors.ts';
import { effectsOf } from '../core/ffn-effect.ts';
import { type FfnSample, readFfnMoments, readFfnSample } from '../core/ffn-moments.ts';
import { percent } from '../core/figures.ts';
import { ffnBlock } from '../core/model.ts';
import { type AimedPlan, type BlockPlan, layerOfBlock, type PlanTensors, type Repair } from '../core/plan.ts';
import { layerSumsOf, type ReadSums, type Statistics, sumsOf } from '../core/statistics.ts';
import type { Realised } from '../core/target.ts';
import { repairBytes, unskippedFfnBytes } from './bytes.ts';
import { type ErrorGate, errorQuantiles, expectedError, fitErrorGate, thresholdAt } from './error-gate.ts';
import { checkTarget } from './host.ts';
import { fitLowRank, type LowRankMap, lowRankMap, smallestRank } from './low-rank-fit.ts';
import { checkCount, share, whole } from './options.ts';
import { type Corrected, definePreset, type PresetPlan, type RefittedBlock } from './preset.ts';
import { type GateTensors, type RepairedBlock, refitBlock } from './refit.ts';
import { allocate, type Candidate, errorCurve, type Scored } from './replaced-tokens.ts';

const MOMENTS = 'ffn-moments';
const EFFECT = 'ffn-effect';
const USUAL_SKIPPED = 0.2;

/** Of the bytes that the block's own matrices have. */
const USUAL_BYTES = 0.058;

/** Ranks are multiples of this: storages in blocks hold 32 columns each, and a rank between would not be smaller. */
const RANK_STEP = 16;

/** A block that fewer of the tokens skip is left alone: what stands beside it is read for all of them. */
const LEAST_SKIPPED = 0.15;

/** A block that is replaced for every token has to be right for every one: of none may this share of the stream be wrong. */
const MOST_WRONG = 0.5;

const OPTIONS = {
  /** Of all FFN blocks: tokens times layers. */
  skip: share.optional().meta({ title: 'share', description: 'share of FFN blocks to replace' }),
  gate: z
    .boolean()
    .default(true)
    .meta({ description: 'replace whole blocks for every token, so that their weights leave the file' }),
  bytes: share.default(USUAL_BYTES).meta({
    title: 'share',
    description: "bytes of what stands in a block's place, as a share of the block's own",
  }),
  warmUpTokens: whole(0).default(1).meta({ title: 'n', description: 'first tokens that run all blocks with a gate' }),
};

type Options = z.output<z.ZodObject<typeof OPTIONS>>;

export const replace = definePreset({
  name: 'replace',
  target: { kind: 'skipped-blocks', usual: USUAL_SKIPPED },
  options: OPTIONS,
  prefill: 'sparse',
  statistics: () => [],
  furtherStatistics: [MOMENTS, EFFECT],
  checkTarget,
  plan: planReplace,
  retune: retuneReplace,
  refit: refitReplaced,
});

async function planReplace(statistics: Statistics, options: Options, readSums: ReadSums): Promise<PresetPlan> {
  const { skip: target = USUAL_SKIPPED, gate, warmUpTokens } = options;
  checkCount('warmUpTokens', warmUpTokens, 0, statistics.sequenceLength - 1);
  const rank = rankFor(statistics, options);
  const effects = effectsOf(sumsOf(statistics, EFFECT));
  const fits: Fit[] = [];
  // Without a gate no token is spared, the first of a text neither.
  const spared = gate ? warmUpTokens : 0;
  for (const layer of Array(statistics.model.numHiddenLayers).keys())
    fits.push(await fitLayer(statistics, { layer, most: rank, effect: effects[layer] }, spared, readSums));
  const chosen = gate ? gatedBlocks(statistics, fits, target) : wholeBlocks(statistics, fits, target);
  return {
    parts: {
      target: { kind: 'skipped-blocks', value: target },
      skipping: gate && warmUpTokens > 0 ? { warmUpTokens, reArm: true } : null,
      notes: [noteOn(statistics, chosen, gate)],
      blocks: chosen,
    },
    tensors: new Map(
      chosen.flatMap(({ block, repair }) => {
        const fit = fits[layerOfBlock(block)];
        const quantiles = errorQuantiles(fit.scored.expected.toSorted());
        return tensorsOf(fit, { slope: fit.gate.slope, quantiles }, repair);
      }),
    ),
  };
}

/** The largest rank within the bytes that are given. */
function rankFor({ model }: Statistics, { bytes }: Options): number {
  const { hiddenSize: hidden, intermediateSize } = model;
  // Two vectors are the offset and the gate.
  const most = (bytes * 3 * intermediateSize - 2) / 2;
  const rank = Math.min(hidden, Math.floor(most / RANK_STEP) * RANK_STEP);
  if (rank >= Math.min(hidden, RANK_STEP)) return rank;
  const least = Math.ceil((100 * 2 * (RANK_STEP + 1)) / (3 * intermediateSize)) / 100;
  const size = `${hidden}x${intermediateSize}`;
  throw new LacunaError('usage', `A map of rank ${RANK_STEP} takes more than ${percent(bytes)} of a block of ${size}`, {
    hint: least < 1 ? `Allow more: --bytes ${least}.` : 'Blocks of this size are too small to be replaced.',
  });
}

/** What was fitted of a layer, and how well it does for the tokens of the sample. */
interface Fit extends LowRankMap {
  readonly layer: number;
  readonly rank: number;
  /** Share of the variance of what the block adds. */
  readonly explained: number;
  readonly gate: ErrorGate;
  /** Of each token of the sample, which share of the stream's energy the map gets wrong. */
  readonly errors: Float64Array;
  readonly scored: Scored;
}

/** Of which layer, of which rank at most, and what an error costs there (`effectsOf`). */
interface Fitted {
  readonly layer: number;
  readonly most: number;
  readonly effect: number;
}

async function fitLayer(
  statistics: Statistics,
  { layer, most, effect }: Fitted,
  warmUpTokens: number,
  readSums: ReadSums,
): Promise<Fit> {
  const { hiddenSize: hidden } = statistics.model;
  const sums = await readSums(layerSumsOf(statistics, MOMENTS)[layer]);
  const moments = readFfnMoments(sums, hidden);
  const fit = fitLowRank(moments, most);
  const rank = smallestRank(fit.explained, RANK_STEP);
  const tensors = lowRankMap(fit, moments, rank);
  const sample = pastWarmUp(readFfnSample(sums, hidden), warmUpTokens);
  const errors = errorsOf(sample, tensors, hidden);
  const gate = await fitErrorGate(sample.x, errors, hidden);
  const scored = { tokens: sample.tokens, expected: expectedOf(sample, gate, hidden), errors: costsOf(errors, effect) };
  return { layer, ...tensors, rank, explained: fit.explained[rank], gate, errors, scored };
}

/** The tokens of a sample past the warm-up, and how many there are in all. */
interface PastWarmUp extends Omit<FfnSample, 'positions'> {
  readonly tokens: number;
}

function pastWarmUp({ positions, factors, x, y }: FfnSample, warmUpTokens: number): PastWarmUp {
  const past = [...positions.keys()].filter((token) => positions[token] >= warmUpTokens);
  const hidden = x.length / Math.max(1, positions.length);
  const rows = (matrix: Float32Array) => {
    const kept = new Float32Array(past.length * hidden);
    for (const [at, token] of past.entries())
      kept.set(matrix.subarray(token * hidden, (token + 1) * hidden), at * hidden);
    return kept;
  };
  return {
    tokens: positions.length,
    factors: factors.filter((_, token) => positions[token] >= warmUpTokens),
    x: rows(x),
    y: rows(y),
  };
}

/** Of each token, which share of the stream's energy a map gets wrong. */
function errorsOf({ factors, x, y }: PastWarmUp, { reduce, expand, offset }: LowRankMap, hidden: number): Float64Array {
  const rank = reduce.length / hidden;
  return factors.map((factor, token) => {
    const input = x.subarray(token * hidden, (token + 1) * hidden);
    const mapped = timesVector(expand, timesVector(reduce, input, rank), hidden);
    let square = 0;
    for (let i = 0; i < hidden; i++) square += (y[token * hidden + i] - mapped[i] - offset[i]) ** 2;
    return (factor * square) / hidden;
  });
}

/** In nats at the end of the model. */
function costsOf(errors: Float64Array, effect: number): Float64Array {
  return errors.map((error) => effect * error);
}

function expectedOf({ factors, x }: PastWarmUp, gate: ErrorGate, hidden: number): Float64Array {
  return factors.map((_, token) => expectedError(gate, x.subarray(token * hidden, (token + 1) * hidden)));
}

/** A matrix [rows, x.length] times x. */
function timesVector(matrix: Float32Array, x: ArrayLike<number>, rows: number): Float64Array {
  const result = new Float64Array(rows);
  const width = x.length;
  for (let row = 0; row < rows; row++) {
    let sum = 0;
    for (let i = 0, at = row * width; i < width; i++, at++) sum += matrix[at] * x[i];
    result[row] = sum;
  }
  return result;
}

/** The blocks and thresholds with which the target is met at the least cost, without blocks that few tokens would skip. */
function gatedBlocks(statistics: Statistics, fits: readonly Fit[], target: number): RepairedBlock[] {
  const blocks = target * fits.length;
  let candidates: readonly Candidate[] = fits.map(({ layer, scored }) => ({ layer, curve: errorCurve(scored) }));
  for (;;) {
    const taken = allocate(candidates, blocks);
    if (taken === undefined) throw outOfReach(target, candidates, fits.length);
    const least = taken.reduce((a, b) => (b.skipped < a.skipped ? b : a));
    if (least.skipped >= LEAST_SKIPPED || taken.length === 1)
      return taken.map((one) => replacedBlock(statistics, fits[one.layer], one));
    // Where the others cannot take over what it skips, it stays.
    const others = candidates.filter(({ layer }) => layer !== least.layer && taken.some((one) => one.layer === layer));
    if (allocate(others, blocks) === undefined)
      return taken.map((one) => replacedBlock(statistics, fits[one.layer], one));
    candidates = others;
  }
}

function outOfReach(target: number, candidates: readonly Candidate[], layers: number): LacunaError {
  const most = candidates.reduce((sum, { curve }) => sum + curve.most, 0) / layers;
  return new LacunaError(
    'usage',
    `At most ${percent(most)} of the FFN blocks can be replaced after warm-up, wanted ${percent(target)}`,
    { hint: 'Ask for less with --skip.' },
  );
}

/** As many blocks as come nearest to the target: those that cost least, but none that is far off for any token. */
function wholeBlocks(statistics: Statistics, fits: readonly Fit[], target: number): RepairedBlock[] {
  const count = Math.max(1, Math.round(target * fits.length));
  const costOf = ({ scored: { errors } }: Fit) => errors.reduce((sum, error) => sum + error, 0) / errors.length;
  const usable = fits.filter(({ errors }) => errors.every((error) => error < MOST_WRONG));
  if (usable.length < count)
    throw new LacunaError(
      'usage',
      `${usable.length} of the ${fits.length} FFN blocks can be replaced for every token, wanted ${count}`,
      { hint: 'Ask for less with --skip, or let a gate decide: leave out --no-gate.' },
    );
  const chosen = usable.toSorted((a, b) => costOf(a) - costOf(b)).slice(0, count);
  return chosen
    .toSorted((a, b) => a.layer - b.layer)
    .map((fit) => replacedBlock(statistics, fit, { layer: fit.layer, skipped: 1, error: costOf(fit) }));
}

interface Taken {
  readonly layer: number;
  readonly skipped: number;
  /** What the map costs where it stands in, in nats a token. */
  readonly error: number;
  /** Absent where all do. */
  readonly threshold?: number;
}

function replacedBlock({ model }: Statistics, fit: Fit, { skipped, error, threshold }: Taken): RepairedBlock {
  const block = ffnBlock(fit.layer);
  const named = (role: string) => `${block}.${role}`;
  const repair: Repair = {
    rank: fit.rank,
    tensors: { reduce: named('reduce'), expand: named('expand'), offset: named('offset') },
    ...(threshold !== undefined && {
      gate: {
        threshold,
        curvature: fit.gate.curvature,
        intercept: fit.gate.intercept,
        tensors: { slope: named('slope'), quantiles: named('quantiles') },
      },
    }),
  };
  return {
    block,
    repair,
    expected: { skipped, bytesPerToken: unskippedFfnBytes(model, skipped) + repairBytes(model, repair) },
    why: whyOf(fit.explained, error),
  };
}

function whyOf(explained: number, cost: number): string {
  return `the map explains ${percent(explained)} of what the block adds; where it stands in, about ${cost.toFixed(4)} nats of KL divergence`;
}

type NamedTensor = [string, { shape: number[]; data: Float32Array }];

function tensorsOf(map: LowRankMap, fitted: GateTensors | undefined, { tensors, gate, rank }: Repair): NamedTensor[] {
  const hidden = map.offset.length;
  return [
    [tensors.reduce, { shape: [rank, hidden], data: map.reduce }],
    [tensors.expand, { shape: [hidden, rank], data: map.expand }],
    [tensors.offset, { shape: [hidden], data: map.offset }],
    ...(gate === undefined || fitted === undefined ? [] : gateTensors(gate.tensors, fitted)),
  ];
}

function gateTensors(names: NonNullable<Repair['gate']>['tensors'], { slope, quantiles }: GateTensors): NamedTensor[] {
  return [
    [names.slope, { shape: [slope.length], data: slope }],
    ...(names.quantiles === undefined
      ? []
      : [[names.quantiles, { shape: [quantiles.length], data: quantiles }] satisfies NamedTensor]),
  ];
}

/** The block fitted to the tokens that arrive when those before it are replaced. */
async function refitReplaced(
  { skipping }: AimedPlan,
  { repair, ...block }: BlockPlan,
  tokens: ArrivingTokens,
  products: Products,
): Promise<RefittedBlock | undefined> {
  if (repair === undefined) return undefined;
  const made = await refitBlock({ ...block, repair }, tokens, skipping?.warmUpTokens ?? 0, products);
  const { map, gate, standIn } = made;
  return { block: made.block, tensors: new Map(tensorsOf(map, gate, made.block.repair)), standIn };
}

function noteOn({ tokens, model }: Statistics, blocks: readonly RepairedBlock[], gate: boolean): string {
  const bytes = blocks.reduce((sum, { repair }) => sum + repairBytes(model, repair), 0) / blocks.length;
  const what = `${percent(bytes / unskippedFfnBytes(model, 0))} of a block's bytes`;
  const where = gate ? 'for tokens whose expected error is at most the threshold' : 'for every token';
  return `In place of a block, ${where}, an affine map fitted to ${tokens} tokens. It takes ${what}${gate ? ', its gate included' : ''}.`;
}

/**
 * The blocks with thresholds moved, so that the share that a model skipped comes to the target. All gated blocks are skipped
 * more often, or less, by the same factor, but none by more tokens than there are past the warm-up.
 */
function retuneReplace(
  plan: AimedPlan,
  tensors: PlanTensors,
  statistics: Statistics,
  { share: realised }: Extract<Realised, { kind: 'skipped-blocks' }>,
): Corrected {
  const { sequenceLength, model } = statistics;
  const most = 1 - (plan.skipping?.warmUpTokens ?? 0) / sequenceLength;
  const planned = plan.blocks.flatMap(({ repair, expected }) => (isGated(repair) ? [expected.skipped ?? 0] : []));
  const sum = planned.reduce((all, share) => all + share, 0);
  const factor = factorTo(sum + (plan.target.value - realised) * model.numHiddenLayers, planned, most);
  return { blocks: plan.blocks.map((block) => retunedBlock(statistics, tensors, block, { factor, most })) };
}

/** By which shares become ones that sum up to `wanted`, where none is above `most`; found by bisection. */
function factorTo(wanted: number, shares: readonly number[], most: number): number {
  const sumAt = (factor: number) => shares.reduce((sum, share) => sum + Math.min(most, factor * share), 0);
  let [low, high] = [0, most / Math.min(...shares.filter((share) => share > 0))];
  if (!(wanted > 0) || !Number.isFinite(high)) return 0;
  // To the last bit of float64.
  for (let i = 0; i < 64; i++) {
    const middle = (low + high) / 2;
    if (sumAt(middle) < wanted) low = middle;
    else high = middle;
  }
  return high;
}

/** A threshold that no expected error is below. */
const NOBODY = -1e6;

function retunedBlock(
  { model }: Statistics,
  tensors: PlanTensors,
  block: BlockPlan,
  { factor, most }: { readonly factor: number; readonly most: number },
): BlockPlan {
  const { repair, expected } = block;
  if (!isGated(repair)) return block;
  const skipped = Math.min(most, factor * (expected.skipped ?? 0));
  const name = repair.gate.tensors.quantiles;
  const quantiles = name === undefined ? undefined : tensors.get(name);
  if (quantiles === undefined)
    throw new LacunaError('mismatch', `The plan's ${block.block} has no quantiles, by which its threshold is moved`, {
      hint: 'Make the plan again with lacuna plan.',
    });
  // A block that nobody is to skip: no error is expected to be so far below nothing.
  const threshold = skipped > 0 ? thresholdAt(quantiles.data, skipped / most) : NOBODY;
  const bytesPerToken = unskippedFfnBytes(model, skipped) + repairBytes(model, repair);
  return {
    ...block,
    repair: { ...repair, gate: { ...repair.gate, threshold } },
    expected: { ...expected, skipped, bytesPerToken },
  };
}

type GatedRepair = Repair & { readonly gate: NonNullable<Repair['gate']> };

function isGated(repair: Repair | undefined): repair is GatedRepair {
  return repair?.gate !== undefined;
}
