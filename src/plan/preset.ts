/** What a preset is: how it makes a plan from statistics, and how it corrects one by what was realised. */
import { LacunaError } from '../core/errors.ts';
import type { Plan, PlanTensors } from '../core/plan.ts';
import type { Statistics } from '../core/statistics.ts';

/** The parts of a plan that a preset decides, and the tensors they name. */
export interface PresetPlan {
  readonly parts: Pick<Plan, 'target' | 'skipping' | 'blocks'>;
  readonly tensors: PlanTensors;
}

/** What a model made by a plan was seen to do, on a text that the plan was not made from. */
export type Realised =
  /** Share of neurons computed in each block, by its name. */
  | { readonly kind: 'density'; readonly byBlock: Readonly<Record<string, number>> }
  /** Share of all FFN blocks (tokens times layers) that were skipped. */
  | { readonly kind: 'skipped-blocks'; readonly share: number };

export interface Preset<Options> {
  plan(statistics: Statistics, options: Options): PresetPlan;
  /** `realised` is of the kind of the plan's target: the caller checks it. */
  retune(plan: Plan, tensors: PlanTensors, statistics: Statistics, realised: Realised): Plan['blocks'];
}

/** Throws `mismatch` when what was measured is not what the plan aims at, or the statistics are of another model. */
export function checkRetune(plan: Plan, statistics: Statistics, realised: Realised): void {
  if (realised.kind !== plan.target.kind)
    throw new LacunaError('mismatch', `The plan aims at ${plan.target.kind}, what was measured is ${realised.kind}`);
  if (statistics.model.fingerprint !== plan.model.fingerprint)
    throw new LacunaError('mismatch', 'The statistics are of another model than the plan', {
      hint: 'Give the statistics that the plan was made from.',
    });
}
