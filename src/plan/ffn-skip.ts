/** The `ffn-skip` preset: which blocks may be skipped, from which cosine on, and for how long (FFN-SkipLLM). */
import * as z from 'zod';
import { LacunaError } from '../core/errors.ts';
import { counted, percent } from '../core/figures.ts';
import { ffnBlock } from '../core/model.ts';
import { type AimedPlan, type BlockPlan, layerOfBlock, type PlanTensors } from '../core/plan.ts';
import {
  cosineOfLevel,
  innerLayers,
  levelOfCosine,
  MAX_LEVEL,
  meanCosines,
  type Region,
  readTrace,
  regionText,
  type SaturationTrace,
  SMALLEST_REGION,
  saturatedRegion,
  skippingDoubts,
  spearman,
} from '../core/saturation.ts';
import type { Statistics } from '../core/statistics.ts';
import type { Realised } from '../core/target.ts';
import { unskippedFfnBytes } from './bytes.ts';
import { checkTarget } from './host.ts';
import { checkCount, share, whole } from './options.ts';
import { type Corrected, definePreset, type PresetPlan } from './preset.ts';
import { type SkipRule, simulateSkips } from './simulate.ts';
import { findWarmUp, type WarmUp } from './warm-up.ts';

/** FFN-SkipLLM's claim: 25 to 30 % of blocks. */
const USUAL_SKIPPED = 0.25;

const COSINE = 'a cosine from -1 to 1';

const OPTIONS = {
  /** Of all FFN blocks: tokens times layers. */
  skip: share.optional().meta({ title: 'share', description: 'share of FFN blocks to skip' }),
  /** Where one of these two is absent, it is found from the profile. */
  coldStart: whole(0).optional().meta({ title: 'layer', description: 'first layer that may be skipped' }),
  coldEnd: whole(1).optional().meta({ title: 'layer', description: 'first layer after those that may be skipped' }),
  warmUpTokens: whole(0).optional().meta({ title: 'n', description: 'first tokens that skip nothing' }),
  /** The fewest that reach the target where it is absent. */
  runLength: whole(1).optional().meta({ title: 'n', description: 'blocks skipped after one that was saturated' }),
  threshold: z
    .number()
    .min(-1, COSINE)
    .max(1, COSINE)
    .optional()
    .meta({ title: 'cosine', description: 'cosine from which blocks are skipped, instead of solving for the target' }),
  /** Whether the test is made again after a run, in the same token. */
  reArm: z.boolean().default(true).meta({ description: 'at most one run of skips a token' }),
};

type Options = z.output<z.ZodObject<typeof OPTIONS>>;

export const ffnSkip = definePreset({
  name: 'ffn-skip',
  target: { kind: 'skipped-blocks', usual: USUAL_SKIPPED, unless: 'threshold' },
  options: OPTIONS,
  // The paper skips blocks of tokens that are decoded; a prompt runs whole.
  prefill: 'dense',
  statistics: () => ['saturation'],
  checkLayers,
  checkTarget,
  plan: (statistics, options) => ({ parts: planFfnSkip(statistics, options), tensors: new Map() }),
  retune: retuneFfnSkip,
});

type Borders = Pick<Options, 'coldStart' | 'coldEnd'>;

function checkLayers({ coldStart, coldEnd }: Borders, layers: number): void {
  checkCount('coldStart', coldStart, 0, layers - SMALLEST_REGION);
  checkCount('coldEnd', coldEnd, (coldStart ?? 0) + SMALLEST_REGION, layers);
}

type SkipPlan = PresetPlan['parts'];

/** By the inner layers; a model of two layers has none, and may still skip its last block. */
function warmUpOf(trace: SaturationTrace): WarmUp {
  const inner = innerLayers(trace.layers);
  return findWarmUp(trace, inner.end > inner.start ? inner : { start: 0, end: trace.layers });
}

/**
 * Chooses the warm-up, the region and the run length, and solves for the threshold whose simulated share of skipped
 * blocks is the target. Throws `usage` for options out of range and for a target that the region cannot reach.
 */
function planFfnSkip(statistics: Statistics, options: Options): SkipPlan {
  const { skip, threshold, reArm } = options;
  const trace = readTrace(statistics);
  checkLayers(options, trace.layers);
  checkCount('warmUpTokens', options.warmUpTokens, 0, statistics.sequenceLength - 1);
  const warmUpTokens = options.warmUpTokens ?? warmUpOf(trace).tokens;
  const wanted = skip ?? (threshold === undefined ? USUAL_SKIPPED : 0);
  const region = chooseRegion(trace, options, fewestLayers(trace, wanted, warmUpTokens, options.runLength));
  checkCount('runLength', options.runLength, 1, region.end - region.start - 1);
  const base = { ...region, warmUpTokens, reArm };
  if (threshold === undefined) {
    return skipPlan(statistics, trace, solveRule(trace, base, wanted, options.runLength), wanted);
  }
  const rule = { ...base, level: levelOfThreshold(threshold), runLength: options.runLength ?? 1 };
  // With a threshold alone, what it skips is what was asked for.
  return skipPlan(statistics, trace, rule, skip ?? simulateSkips(trace, rule).share, threshold);
}

/**
 * The plan's blocks with their threshold moved, so that the share that a model realised comes to the target: if it skipped
 * less than the simulation said, the simulation is asked for as much more.
 */
function retuneFfnSkip(
  plan: AimedPlan,
  _tensors: PlanTensors,
  statistics: Statistics,
  { share }: Extract<Realised, { kind: 'skipped-blocks' }>,
): Corrected {
  const trace = readTrace(statistics);
  const rule = ruleOfPlan(plan);
  const simulated = simulateSkips(trace, rule).share;
  const level = solveLevel(trace, rule, simulated + plan.target.value - share);
  const { notes, blocks } = skipPlan(statistics, trace, { ...rule, level }, plan.target.value);
  return { notes, blocks };
}

/**
 * In how many layers a share of all blocks can be skipped by the tokens past the warm-up: the blocks that each of them
 * skips, and one before each run. A run is as long as may be where its length is not given.
 */
function fewestLayers(
  { layers, tokens, positions }: SaturationTrace,
  target: number,
  warmUpTokens: number,
  runLength: number | undefined,
): number {
  const past = positions.reduce((count, position) => count + (position < warmUpTokens ? 0 : 1), 0);
  const blocks = Math.max(1, Math.ceil((target * layers * tokens) / past));
  return blocks + Math.ceil(blocks / (runLength ?? blocks));
}

function chooseRegion(trace: SaturationTrace, { coldStart, coldEnd }: Options, fewest: number): Region {
  const found = saturatedRegion(meanCosines(trace), fewest);
  const region = { start: coldStart ?? found.start, end: coldEnd ?? found.end };
  if (region.end - region.start < SMALLEST_REGION)
    throw new LacunaError(
      'usage',
      `Wanted at least ${SMALLEST_REGION} layers that may be skipped, but found ${foundText(region)}`,
      { hint: 'Give the borders with --cold-start and --cold-end, or use the top-k preset.' },
    );
  return region;
}

function foundText(region: Region): string {
  const text = regionText(region);
  return text === undefined ? 'none' : `only layers ${text}`;
}

type OpenRule = Omit<SkipRule, 'level' | 'runLength'>;

/** The fewest blocks a run with which the target can be reached: shorter runs test more often. */
function solveRule(trace: SaturationTrace, base: OpenRule, target: number, runLength: number | undefined): SkipRule {
  const longest = base.end - base.start - 1;
  let most = 0;
  for (let length = runLength ?? 1; length <= (runLength ?? longest); length++) {
    const rule = { ...base, runLength: length };
    const { share } = simulateSkips(trace, { ...rule, level: MAX_LEVEL });
    if (share >= target) return { ...rule, level: solveLevel(trace, rule, target) };
    most = Math.max(most, share);
  }
  throw new LacunaError(
    'usage',
    `At most ${percent(most)} of the FFN blocks can be skipped in layers ${base.start} to ${base.end - 1} after ` +
      `${base.warmUpTokens} warm-up tokens, wanted ${percent(target)}`,
    { hint: 'Ask for less, or widen the region with --cold-start and --cold-end.' },
  );
}

/**
 * The level between whose neighbours the simulated share crosses the target, by bisection; of the two, the one that
 * comes nearer. The share grows with the level but for the region's end, so the crossing is what one wants even there.
 */
function solveLevel(trace: SaturationTrace, rule: Omit<SkipRule, 'level'>, target: number): number {
  const share = (level: number) => simulateSkips(trace, { ...rule, level }).share;
  let below = -1;
  let reached = MAX_LEVEL;
  while (reached - below > 1) {
    const middle = Math.floor((below + reached) / 2);
    if (share(middle) >= target) reached = middle;
    else below = middle;
  }
  if (below < 0) return reached;
  return target - share(below) < share(reached) - target ? below : reached;
}

/** Half a step past the level, so that a cosine passes exactly when its rounded angle does. */
function thresholdOfLevel(level: number): number {
  return cosineOfLevel(Math.min(MAX_LEVEL, level + 0.5));
}

/** The highest level whose cosine still passes the threshold; above 1 nothing does. */
function levelOfThreshold(threshold: number): number {
  const level = levelOfCosine(threshold);
  return cosineOfLevel(level) >= threshold ? level : level - 1;
}

function ruleOfPlan(plan: AimedPlan): SkipRule {
  const skipped = plan.blocks.flatMap(({ block, skip }) => (skip ? [{ layer: layerOfBlock(block), skip }] : []));
  if (plan.skipping === null || skipped.length === 0)
    throw new LacunaError('mismatch', `Expected an ffn-skip plan with skipped blocks, got preset ${plan.preset}`);
  const [{ layer: start, skip }] = skipped;
  const alike = skipped.every(
    (other, i) =>
      other.layer === start + i && other.skip.threshold === skip.threshold && other.skip.runLength === skip.runLength,
  );
  if (!alike)
    throw new LacunaError('unsupported', 'Only plans whose skipped blocks adjoin and share one rule can be corrected', {
      hint: 'Keep the plan as edited, or make it again with lacuna plan.',
    });
  const level = levelOfThreshold(skip.threshold);
  return { start, end: start + skipped.length, level, runLength: skip.runLength, ...plan.skipping };
}

function skipPlan(
  statistics: Statistics,
  trace: SaturationTrace,
  rule: SkipRule,
  target: number,
  given?: number,
): SkipPlan {
  const { byLayer, share } = simulateSkips(trace, rule);
  const threshold = given ?? thresholdOfLevel(rule.level);
  const cosines = meanCosines(trace, rule.warmUpTokens);
  const passing = passingShares(trace, rule);
  const block = (layer: number): BlockPlan => {
    const skipped = byLayer[layer] / trace.tokens;
    return {
      block: ffnBlock(layer),
      skip: { threshold, runLength: rule.runLength },
      expected: { skipped, bytesPerToken: unskippedFfnBytes(statistics.model, skipped) },
      why:
        `mean cosine ${cosines[layer].toFixed(4)} past warm-up, ${percent(passing[layer])} of tokens reach the threshold` +
        (layer === rule.start ? '; first of the region, so always computed' : ''),
    };
  };
  const rank = spearman(cosines.slice(rule.start, rule.end));
  return {
    target: { kind: 'skipped-blocks', value: target },
    skipping: { warmUpTokens: rule.warmUpTokens, reArm: rule.reArm },
    notes: [
      `Threshold ${given === undefined ? 'solved' : 'given'}. Simulated on ${trace.tokens} tokens: ${percent(share)} of all FFN ` +
        `blocks are skipped, in layers ${rule.start} to ${rule.end - 1}.`,
      ...skippingDoubts(trace.layers, rule, rank, `No run is longer than ${counted(rule.runLength, 'block')}.`),
      ...warmUpDoubts(trace, rule),
    ],
    blocks: Array.from({ length: rule.end - rule.start }, (_, i) => block(rule.start + i)),
  };
}

/** By layer, the share of tokens past warm-up whose cosine reaches the rule's threshold. */
function passingShares(
  { layers, tokens, levels, positions }: SaturationTrace,
  { warmUpTokens, level }: SkipRule,
): number[] {
  const isPast = Array.from(positions, (position) => position >= warmUpTokens);
  const past = isPast.filter(Boolean).length;
  return Array.from({ length: layers }, (_, layer) => {
    const passing = isPast.filter((is, token) => is && levels[layer * tokens + token] <= level);
    return past === 0 ? 0 : passing.length / past;
  });
}

function warmUpDoubts(trace: SaturationTrace, { warmUpTokens }: SkipRule): string[] {
  const { tokens, isSettled } = warmUpOf(trace);
  if (isSettled || warmUpTokens > tokens) return [];
  return [`Cosines have not settled in the first ${counted(tokens, 'token')}, half of the sequences.`];
}
