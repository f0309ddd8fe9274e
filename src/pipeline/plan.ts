/** `lacuna plan`: statistics become a plan. */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { sha256File } from '../../formats/files.ts';
import { writePlan } from '../../formats/plan.ts';
import { readStatistics } from '../../formats/statistics.ts';
import type { Plan } from '../core/plan.ts';
import type { PrecisionName } from '../core/precision.ts';
import { makePlan, type PlanOptions } from '../plan/index.ts';
import { FLOATS } from './budget.ts';
import { installedHost } from './engine.ts';
import { checkTokens, STATISTICS } from './enough-tokens.ts';
import { checkJsonOutput } from './output.ts';

export type { PlanOptions };

export interface PlanCommandOptions {
  readonly statistics: string;
  /** JSON file to make; its tensors, if it has any, go beside it. */
  readonly output: string;
  /** Without a host: what this installation runs. */
  readonly preset: PlanOptions;
  /** How the weights will be stored, which decides what pays in stock ONNX Runtime; fp32 by default. */
  readonly dtype?: PrecisionName;
  readonly force?: boolean;
  /** Where the native core is; found by itself when absent. */
  readonly nativeFolder?: string | URL;
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
  const { preset, dtype = FLOATS, nativeFolder } = options;
  const statistics = await readStatistics(options.statistics);
  checkTokens(STATISTICS, statistics.tokens);
  const host = preset.host ?? (await installedHost(dtype, nativeFolder));
  const made = makePlan(statistics, { ...preset, host }, await sha256File(options.statistics));
  await mkdir(dirname(options.output), { recursive: true });
  return { output: options.output, plan: await writePlan(made.plan, made.tensors, options.output) };
}
