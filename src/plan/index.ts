/** Statistics -> Plan. */
import * as z from 'zod';
import type { FitStandIn } from '../core/arriving.ts';
import type { MeasureName } from '../core/choice.ts';
import { LacunaError } from '../core/errors.ts';
import type { HostCosts } from '../core/host-costs.ts';
import { checkArgument } from '../core/options.ts';
import {
  type AimedPlan,
  type Host,
  isReplaced,
  layerOfBlock,
  PLAN_FORMAT,
  PLAN_VERSION,
  type Plan,
  type PlanTensors,
  type Target,
} from '../core/plan.ts';
import { precisionNamed } from '../core/precision.ts';
import type { ReadSums, Statistics } from '../core/statistics.ts';
import { type Realised, TARGETS } from '../core/target.ts';
import { AUTO } from './auto.ts';
import { DEFAULT_COSTS } from './default-costs.ts';
import { checkMeasure, forHost, type ModelShape, withTimes } from './host.ts';
import { checkRetune, checkStatistics, optionsSchema, type Preset, type PresetWords } from './preset.ts';
import { type PlanOptions, PRESETS } from './presets.ts';

export {
  AUTO,
  type AutoModel,
  type BlockOptions,
  blockOptions,
  type Mix,
  mixesByLoss,
  type PrecisionLosses,
  planOfMix,
  uniformMix,
} from './auto.ts';
export { DEFAULT_COSTS } from './default-costs.ts';
export { fitCosts, fitCostsTogether, type MeasuredStep } from './fit-costs.ts';
export { checkMeasure } from './host.ts';
export { streamLoss } from './neuron-scores.ts';
export type { PlanOptions } from './presets.ts';
export { lossAt, readScoreCurves } from './product-scores.ts';
export { simulateSkips } from './simulate.ts';
export { attentionWeights, type StepShape, type Stored, stepTerms, stepTime } from './step.ts';
export { findWarmUp } from './warm-up.ts';
export type { PresetWords };

/** What is said of every preset to whoever chooses one. */
export const PRESET_WORDS: readonly PresetWords[] = PRESETS;

/** For all that works with any of them: the compiler cannot see that a preset and its options are found by one name. */
const ANY: readonly Preset[] = PRESETS as readonly object[] as readonly Preset[];

const NAMES = ANY.map(({ name }) => name);

function presetNamed(wanted: string): Preset {
  const found = ANY.find(({ name }) => name === wanted);
  if (found === undefined) throw new LacunaError('unsupported', noPreset(wanted, NAMES));
  return found;
}

function noPreset(wanted: string, known: readonly string[]): string {
  return `No preset is called "${wanted}", wanted ${known.join(', ')}`;
}

/** What is asked of a plan: the options of one of the presets, with their defaults. */
export const planOptionsSchema = z.discriminatedUnion(
  'preset',
  ANY.map(optionsSchema) as [ReturnType<typeof optionsSchema>],
) as unknown as z.ZodType<PlanOptions>;

export function targetOf(options: PlanOptions): Target {
  const { kind, usual } = presetNamed(options.preset).target;
  const { [TARGETS[kind].option]: value }: Readonly<Record<string, unknown>> = options;
  return { kind, value: typeof value === 'number' ? value : usual };
}

/** The same options with another target, which decides. */
export function withTarget(options: PlanOptions, target: number): PlanOptions {
  const { kind, unless } = presetNamed(options.preset).target;
  const others = Object.entries(options).filter(([name]) => name !== unless);
  return { ...Object.fromEntries(others), [TARGETS[kind].option]: target } as PlanOptions;
}

/**
 * Throws `usage` for a measure that is not for weights of the host, and for a target that pays for no block of the model on it,
 * whatever is measured.
 */
export function checkTarget(
  options: PlanOptions,
  host: Host,
  model: ModelShape,
  costs: HostCosts = DEFAULT_COSTS[host.kind],
): void {
  const measure = checkStored(options, host);
  presetNamed(options.preset).checkTarget?.(targetOf(options), host, model, costs, measure);
}

/** Throws `usage` for layers among the options that a model of `layers` layers lacks. */
export function checkLayers(options: PlanOptions, layers: number): void {
  presetNamed(options.preset).checkLayers?.(options, layers);
}

/** What blocks choose neurons by, which has to be for the host's weights where these are known. */
function checkStored(options: PlanOptions, host: Host): MeasureName | undefined {
  const measure = measureOf(options);
  if (measure !== undefined && host.dtype !== undefined) checkMeasure(measure, precisionNamed(host.dtype));
  return measure;
}

/** What blocks choose neurons by in a plan of these options; undefined where they compute all. */
function measureOf(options: PlanOptions): MeasureName | undefined {
  return presetNamed(options.preset).measureOf?.(options);
}

/** Whether a plan of these options has blocks compute some of their neurons, so that `down` is read along both of its axes. */
export function choosesNeurons(options: PlanOptions): boolean {
  return measureOf(options) !== undefined;
}

/** Names of the statistics, measured only on request, that a plan of these options is made from. */
export function furtherStatisticsOf({ preset }: PlanOptions): readonly string[] {
  return presetNamed(preset).furtherStatistics ?? [];
}

/** What is wrong with the preset that a plan names; undefined where it is one of ours and aims at what the plan does. */
export function presetProblem({ preset, target }: Pick<Plan, 'preset' | 'target'>): string | undefined {
  const known = ANY.find(({ name }) => name === preset);
  if (known === undefined && preset !== AUTO) return noPreset(preset, [...NAMES, AUTO]);
  const [wanted, got] = [known?.target.kind, target?.kind];
  return wanted === got ? undefined : `preset ${preset} aims at ${wanted ?? 'no share'}, got ${got ?? 'none'}`;
}

export interface PlanWithTensors {
  readonly plan: AimedPlan;
  readonly tensors: PlanTensors;
}

/**
 * Makes a plan from statistics, which `statisticsSha256` names in it; the same ones, options and costs of the host give
 * the same plan. Costs are the package's own where none are given. Throws `usage` for options out of range, a target that cannot be reached, and a host on which nothing of the plan
 * would pay; `bad-file` for statistics that lack what the preset reads.
 *
 * @example const { plan, tensors } = await makePlan(statistics, { preset: 'top-k', keep: 0.5 }, sha256, readSums);
 */
export async function makePlan(
  statistics: Statistics,
  options: PlanOptions,
  statisticsSha256: string,
  readSums: ReadSums,
  costs?: HostCosts,
): Promise<PlanWithTensors> {
  const preset = presetNamed(options.preset);
  const given = checkArgument(optionsSchema(preset), options, { of: 'plan' });
  const { preset: _, prefill = preset.prefill, host = { kind: 'native' }, ...own } = given;
  checkStatistics(preset, own, statistics);
  checkStored(options, host);
  const { parts, tensors } = await preset.plan(statistics, own, readSums);
  checkPrefill(prefill, parts.blocks);
  const plan: AimedPlan = {
    format: PLAN_FORMAT,
    version: PLAN_VERSION,
    preset: preset.name,
    host,
    model: statistics.model,
    statistics: statisticsSha256,
    texts: [...statistics.texts],
    tensors: null,
    prefill,
    ...forHost(parts, host, statistics.model, costs ?? DEFAULT_COSTS[host.kind]),
  };
  return { plan, tensors };
}

/** Throws `usage` for a dense prefill of blocks whose weights the model does not have. */
function checkPrefill(prefill: Plan['prefill'], blocks: Plan['blocks']): void {
  const gone = blocks.find(isReplaced);
  if (prefill === 'sparse' || gone === undefined) return;
  throw new LacunaError('usage', `${gone.block} is replaced for every token, so its prefill cannot be dense`, {
    hint: 'Leave out --prefill dense, or let a gate decide: leave out --no-gate.',
  });
}

/**
 * Corrects a plan's thresholds by what was realised; repeatable until it holds. Throws `mismatch` when what was
 * measured is not what the plan aims at, or of another model; `unsupported` for a plan whose preset there is not.
 */
export async function retune(
  plan: AimedPlan,
  tensors: PlanTensors,
  statistics: Statistics,
  realised: Realised,
  readSums: ReadSums,
  costs: HostCosts = DEFAULT_COSTS[plan.host.kind],
): Promise<AimedPlan> {
  checkRetune(plan, statistics, realised);
  const preset = presetNamed(plan.preset);
  const corrected = { ...plan, ...(await preset.retune(plan, tensors, statistics, realised, readSums)) };
  return { ...corrected, blocks: withTimes(corrected.blocks, plan.host, plan.model, costs) };
}

/** What `refitter` collects. */
export interface Refitter {
  /** Layers with blocks that are fitted, ascending. */
  readonly layers: readonly number[];
  /** To be called for each of these layers, in order. */
  readonly standInFor: FitStandIn;
  /** The plan with the blocks as they were fitted, and its tensors. `tokens`: how many they were fitted to. */
  refitted(tokens: number): PlanWithTensors;
}

/** Whether plans of a preset have blocks that are fitted to what arrives at them. */
export function isRefitted(preset: string): boolean {
  return presetNamed(preset).refit !== undefined;
}

/**
 * Fits the blocks of a plan anew, one after the other, as a walk through the model comes to them. Throws `unsupported` for a
 * plan in which nothing is fitted.
 */
export function refitter(plan: AimedPlan, tensors: PlanTensors): Refitter {
  const { refit } = presetNamed(plan.preset);
  if (refit === undefined) {
    const fitting = ANY.filter((one) => one.refit !== undefined).map(({ name }) => name);
    throw new LacunaError('unsupported', `A plan of the preset ${plan.preset} has nothing that is fitted`, {
      hint: `Give a plan of: ${fitting.join(', ')}.`,
    });
  }
  const byLayer = new Map(plan.blocks.map((block) => [layerOfBlock(block.block), block]));
  const made = new Map(tensors);
  return {
    layers: [...byLayer.keys()].sort((a, b) => a - b),
    async standInFor(layer, tokens, products) {
      const block = byLayer.get(layer);
      const fitted = block && (await refit(plan, block, tokens, products));
      if (fitted === undefined) throw new RangeError(`Nothing is fitted in layer ${layer}`);
      byLayer.set(layer, fitted.block);
      for (const [name, tensor] of fitted.tensors) made.set(name, tensor);
      return fitted.standIn;
    },
    refitted(tokens) {
      const blocks = plan.blocks.map((block) => byLayer.get(layerOfBlock(block.block)) ?? block);
      const note = `Fitted anew to ${tokens} tokens, block after block, each to what arrives when those before it are replaced.`;
      return { plan: { ...plan, blocks, notes: [...(plan.notes ?? []), note] }, tensors: made };
    },
  };
}
