/** `lacuna plan`: statistics become a plan. */
import type * as z from 'zod';
import { sha256File } from '../../formats/files.ts';
import { badPlan, readPlan, writePlan } from '../../formats/plan.ts';
import { readStatistics, readSums } from '../../formats/statistics.ts';
import { door, optionsOf, path } from '../core/options.ts';
import type { Plan, PlanTensors } from '../core/plan.ts';
import {
  makePlan,
  type PlanOptions,
  PRESET_WORDS,
  type PresetWords,
  planOptionsSchema,
  presetProblem,
} from '../plan/index.ts';
import { checkJsonOutput, writeJsonOutput } from './folder/output.ts';
import { costsOfHost } from './host/costs.ts';
import { COSTS, flag, JOB, nativeFolder } from './options.ts';
import { checkTokens, fewTokens, STATISTICS } from './texts/texts.ts';

export { type PlanOptions, PRESET_WORDS, type PresetWords };

export const planCommandOptions = optionsOf(
  {
    statistics: path,
    /** JSON file to make; its tensors, if it has any, go beside it. */
    output: path,
    preset: planOptionsSchema,
  },
  {
    ...COSTS,
    /** On which the host is to decode: its costs depend on it. */
    threads: JOB.threads,
    progress: JOB.progress,
    nativeFolder,
    force: flag,
  },
);

export interface PlanCommandOptions extends z.infer<typeof planCommandOptions> {}

export interface PlanResult {
  readonly output: string;
  readonly plan: Plan;
}

/**
 * Chooses what to leave out, from statistics alone.
 *
 * @example
 * const preset = { preset: 'top-k', keep: 0.3 } as const;
 * await plan({ statistics: './statistics.json', output: './plan.json', preset });
 */
export const plan = door('plan', planCommandOptions, async (options: PlanCommandOptions): Promise<PlanResult> => {
  await checkJsonOutput(options);
  const statistics = await readStatistics(options.statistics);
  checkTokens(STATISTICS, statistics.tokens);
  const costs = await costsOfHost(options.preset.host?.kind ?? 'native', options);
  const made = await makePlan(statistics, options.preset, await sha256File(options.statistics), readSums, costs);
  const { output } = options;
  const notes = [...(made.plan.notes ?? []), ...fewTokens(STATISTICS, statistics.tokens)];
  const noted = { ...made.plan, notes };
  return { output, plan: await writeJsonOutput(options, () => writePlan(noted, made.tensors, output)) };
});

/** A plan file and its tensors. Throws as `readPlan` does, and `bad-file` for an unknown preset. */
export async function openPlan(path: string): Promise<{ plan: Plan; tensors: PlanTensors }> {
  const read = await readPlan(path);
  const problem = presetProblem(read.plan);
  if (problem !== undefined) throw badPlan(path, problem);
  return read;
}
