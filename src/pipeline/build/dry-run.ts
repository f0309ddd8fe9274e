/** `lacuna build --dry-run`: what a build would do, from configs and texts alone. */
import { readdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { refuseExistingFolder } from '../../../formats/files.ts';
import { LacunaError } from '../../core/errors.ts';
import type { Host, Plan } from '../../core/plan.ts';
import { FLOATS } from '../budget.ts';
import type { PreparedBuild } from '../build.ts';
import { contentOf, openModels } from '../convert.ts';
import { freeBytesAt, type Problem } from '../dry-run.ts';
import { planModelFolder } from '../model-folder.ts';
import { openSource } from '../source.ts';
import { type Build, isRounded } from './options.ts';

export interface BuildDryRun {
  readonly output: string;
  readonly precision: string;
  readonly host: Host;
  readonly target: Plan['target'];
  /** In order, with those that an earlier run has finished. */
  readonly stages: readonly { readonly name: string; readonly isKept: boolean }[];
  readonly scoredTokens: number;
  /** Of a dense model in the precision; there are up to three models of about that size at a time. */
  readonly denseBytes: number;
  readonly freeBytes: number | undefined;
  /** For which `build` would stop at once. */
  readonly problem: Problem | undefined;
}

/** What a prepared build would do. */
export async function describeBuild({ job, scoredTokens, force, target }: PreparedBuild): Promise<BuildDryRun> {
  const { precision, host, options } = job;
  const checkpoint = await openSource(options.checkpoint, options);
  const files = await planModelFolder(contentOf(checkpoint, openModels(checkpoint, [precision], undefined)));
  return {
    output: options.output,
    precision: precision.name,
    host,
    target,
    stages: await stagesOf(job),
    scoredTokens,
    denseBytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    freeBytes: await freeBytesAt(options.output),
    problem: await problemOf(() => refuseExistingFolder(options.output, { force })),
  };
}

async function problemOf(check: () => Promise<void>): Promise<Problem | undefined> {
  try {
    await check();
    return undefined;
  } catch (error) {
    if (!(error instanceof LacunaError)) throw error;
    const { code, message, hint } = error;
    return { code, message, hint };
  }
}

async function stagesOf(job: Build): Promise<BuildDryRun['stages']> {
  const { keys, precision, work } = job;
  const there = await readdir(resolve(work)).catch((): string[] => []);
  const names = [
    ...(isRounded(job) ? (['rounding'] as const) : []),
    'dense' as const,
    'statistics' as const,
    'plan' as const,
    'sparse' as const,
    'bench' as const,
    ...(precision.name === FLOATS ? [] : (['floats'] as const)),
    'evaluation' as const,
  ];
  return names.map((name) => ({ name, isKept: there.includes(`${name}-${keys[name === 'sparse' ? 'plan' : name]}`) }));
}
