/** Statistics -> Plan. */
import { LacunaError } from '../core/errors.ts';
import { PLAN_FORMAT, PLAN_VERSION, type Plan, type PlanTensors } from '../core/plan.ts';
import type { Statistics } from '../core/statistics.ts';
import { planFfnSkip, retuneFfnSkip } from './ffn-skip.ts';
import type { PlanOptions } from './options.ts';

export { denseFfnBytes } from './bytes.ts';

import { planTopK, retuneTopK } from './top-k.ts';

export {
  DEFAULT_DENSITY,
  DEFAULT_SKIPPED,
  type FfnSkipOptions,
  type PlanOptions,
  type TopKOptions,
} from './options.ts';
export { type SkipCounts, type SkipRule, simulateSkips } from './simulate.ts';

/** A plan and its tensors, which `writePlan` binds to it. */
export interface PlanWithTensors {
  readonly plan: Plan;
  readonly tensors: PlanTensors;
}

/**
 * Makes a plan from statistics; the same statistics and options give the same plan. `statisticsSha256` names the
 * statistics in it. Throws `usage` for options out of range or a target that cannot be reached.
 *
 * @example const { plan, tensors } = makePlan(statistics, { preset: 'top-k', density: 0.5 }, sha256);
 */
export function makePlan(statistics: Statistics, options: PlanOptions, statisticsSha256: string): PlanWithTensors {
  const { parts, tensors } =
    options.preset === 'top-k'
      ? planTopK(statistics, options)
      : { parts: planFfnSkip(statistics, options), tensors: new Map() };
  const plan: Plan = {
    format: PLAN_FORMAT,
    version: PLAN_VERSION,
    preset: options.preset,
    model: statistics.model,
    statistics: statisticsSha256,
    tensors: null,
    prefill: options.prefill ?? 'sparse',
    ...parts,
  };
  return { plan, tensors };
}

/** What a model made by a plan was seen to do, on a text that the plan was not made from. */
export type Realised =
  /** Share of neurons computed in each block, by its name. */
  | { readonly kind: 'density'; readonly byBlock: Readonly<Record<string, number>> }
  /** Share of all FFN blocks (tokens times layers) that were skipped. */
  | { readonly kind: 'skipped-blocks'; readonly share: number };

/**
 * Corrects a plan's thresholds by what was realised; deterministic, and repeatable until it holds. Throws `mismatch`
 * when what was measured is not what the plan aims at, or the plan is of another model.
 */
export function retune(plan: Plan, tensors: PlanTensors, statistics: Statistics, realised: Realised): Plan {
  if (realised.kind !== plan.target.kind)
    throw new LacunaError('mismatch', `The plan aims at ${plan.target.kind}, what was measured is ${realised.kind}`);
  if (statistics.model.fingerprint !== plan.model.fingerprint)
    throw new LacunaError('mismatch', 'The statistics are of another model than the plan', {
      hint: 'Give the statistics that the plan was made from.',
    });
  return realised.kind === 'density'
    ? retuneTopK(plan, tensors, statistics, realised.byBlock)
    : { ...plan, ...retuneFfnSkip(plan, statistics, realised.share) };
}
