/** Statistics -> Plan. */
import { PLAN_FORMAT, PLAN_VERSION, type Plan, type PlanTensors } from '../core/plan.ts';
import type { Statistics } from '../core/statistics.ts';
import { ffnSkip } from './ffn-skip.ts';
import { forHost, withTimes } from './host.ts';
import { DEFAULT_DENSITY, DEFAULT_SKIPPED, type PlanOptions } from './options.ts';
import { checkRetune, type Preset, type Realised } from './preset.ts';
import { topK } from './top-k.ts';

export { denseFfnBytes } from './bytes.ts';
export { checkTarget } from './host.ts';
export {
  DEFAULT_DENSITY,
  DEFAULT_SKIPPED,
  type FfnSkipOptions,
  type PlanOptions,
  type TopKOptions,
} from './options.ts';
export type { Realised } from './preset.ts';
export { type SkipCounts, type SkipRule, simulateSkips } from './simulate.ts';

/** Every preset, by the name it is asked for. */
const PRESETS: { readonly [Name in PlanOptions['preset']]: Preset<Extract<PlanOptions, { readonly preset: Name }>> } = {
  'ffn-skip': ffnSkip,
  'top-k': topK,
};

/** The compiler cannot see that options and preset are found by one name, so they meet here. */
function presetNamed(name: PlanOptions['preset']): Preset<PlanOptions> {
  return PRESETS[name] as Preset<PlanOptions>;
}

/** What a plan of these options aims at. */
export function targetOf(options: PlanOptions): Plan['target'] {
  return options.preset === 'top-k'
    ? { kind: 'density', value: options.density ?? DEFAULT_DENSITY }
    : { kind: 'skipped-blocks', value: options.targetSkipped ?? DEFAULT_SKIPPED };
}

/** A plan and its tensors, which `writePlan` binds to it. */
export interface PlanWithTensors {
  readonly plan: Plan;
  readonly tensors: PlanTensors;
}

/**
 * Makes a plan from statistics; the same statistics and options give the same plan. `statisticsSha256` names the
 * statistics in it. Throws `usage` for options out of range, a target that cannot be reached, and a host on which nothing
 * of the plan would pay.
 *
 * @example const { plan, tensors } = makePlan(statistics, { preset: 'top-k', density: 0.5 }, sha256);
 */
export function makePlan(statistics: Statistics, options: PlanOptions, statisticsSha256: string): PlanWithTensors {
  const { preset, prefill = 'sparse', host = { kind: 'native' } } = options;
  const { parts, tensors } = presetNamed(preset).plan(statistics, options);
  const plan: Plan = {
    format: PLAN_FORMAT,
    version: PLAN_VERSION,
    preset,
    host,
    model: statistics.model,
    statistics: statisticsSha256,
    texts: [...statistics.texts],
    tensors: null,
    prefill,
    ...forHost(parts, host, statistics.model),
  };
  return { plan, tensors };
}

/**
 * Corrects a plan's thresholds by what was realised; deterministic, and repeatable until it holds. Throws `mismatch`
 * when what was measured is not what the plan aims at, or the plan is of another model.
 */
export function retune(plan: Plan, tensors: PlanTensors, statistics: Statistics, realised: Realised): Plan {
  checkRetune(plan, statistics, realised);
  const blocks = presetNamed(plan.preset).retune(plan, tensors, statistics, realised);
  return { ...plan, blocks: withTimes(blocks, plan.host, plan.model) };
}
