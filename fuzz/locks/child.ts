/**
 * One of several processes that race for a workspace. Each line of its input is a race, each line of its output the
 * result.
 */
import { closeSync, openSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { LacunaError } from '../../src/core/errors.ts';
import { withWorkspace } from '../../src/pipeline/build/workspace.ts';
import type { Race, Result } from '../locks.ts';

for await (const line of createInterface({ input: process.stdin })) {
  const race = JSON.parse(line) as Race;
  // All begin at once, as far as clocks and schedulers allow.
  while (Date.now() < race.at);
  console.log(await take(race));
}

async function take({ workspace, holder, holdMs }: Race): Promise<Result> {
  try {
    return await withWorkspace(workspace, () => hold(holder, holdMs));
  } catch (error) {
    return error instanceof LacunaError && error.code === 'exists' ? 'refused' : `failed: ${String(error)}`;
  }
}

/** A file that only one process at a time can make. A process that finds it is not alone. */
async function hold(holder: string, ms: number): Promise<Result> {
  try {
    closeSync(openSync(holder, 'wx'));
  } catch {
    return 'not alone';
  }
  await setTimeout(ms);
  rmSync(holder);
  return 'held';
}
