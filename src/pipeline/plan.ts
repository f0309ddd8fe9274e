/** `lacuna plan`: statistics become a plan. */
import { sha256File } from '../../formats/files.ts';
import { badPlan, readPlan, writePlan } from '../../formats/plan.ts';
import { readStatistics, readSums } from '../../formats/statistics.ts';
import type { Plan, PlanTensors } from '../core/plan.ts';
import { makePlan, type PlanOptions, PRESET_WORDS, type PresetWords, presetProblem } from '../plan/index.ts';
import { checkJsonOutput, writeJsonOutput } from './folder/output.ts';
import { checkTokens, STATISTICS } from './texts/enough-tokens.ts';

export { type PlanOptions, PRESET_WORDS, type PresetWords };

export interface PlanCommandOptions {
  readonly statistics: string;
  /** JSON file to make; its tensors, if it has any, go beside it. */
  readonly output: string;
  readonly preset: PlanOptions;
  readonly force?: boolean;
}

export interface PlanResult {
  readonly output: string;
  readonly plan: Plan;
}

/**
 * Chooses what to leave out, from statistics alone.
 *
 * @example await plan({ statistics: 's.json', output: 'p.json', preset: { preset: 'top-k', density: 0.3 } });
 */
export async function plan(options: PlanCommandOptions): Promise<PlanResult> {
  await checkJsonOutput(options);
  const statistics = await readStatistics(options.statistics);
  checkTokens(STATISTICS, statistics.tokens);
  const made = await makePlan(statistics, options.preset, await sha256File(options.statistics), readSums);
  const { output } = options;
  return { output, plan: await writeJsonOutput(options, () => writePlan(made.plan, made.tensors, output)) };
}

/** The plan in a file and its tensors. Throws as `readPlan` does, and `bad-file` for one whose preset there is not. */
export async function openPlan(path: string): Promise<{ plan: Plan; tensors: PlanTensors }> {
  const read = await readPlan(path);
  const problem = presetProblem(read.plan);
  if (problem !== undefined) throw badPlan(path, problem);
  return read;
}
