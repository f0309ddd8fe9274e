/** A hostile Hub on this machine. Whatever it answers, a download ends in bounded time, memory and place. */
import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type Campaign, type CampaignOptions, type CampaignResult, deadlineOf, type Failure } from './campaign.ts';
import { built, repository } from './harness/paths.ts';
import { withScratch } from './harness/scratch.ts';
import { LIMITS, supervise } from './harness/supervise.ts';
import { makeCheckpoint } from './inputs/seeds.ts';

export const hub: Campaign = { name: 'hub', run };

async function run(options: CampaignOptions): Promise<CampaignResult> {
  const { seed, from = 0, cases = Number.POSITIVE_INFINITY, log, signal } = options;
  return withScratch(async (scratch) => {
    const model = join(scratch, 'model');
    const work = join(scratch, 'work');
    await makeCheckpoint(model, repository('fixtures'));
    mkdirSync(work);
    const failures: Failure[] = [];
    const done = await supervise({
      ...{ from, cases, signal, deadline: deadlineOf(options), limits: LIMITS, jobs: availableParallelism() },
      ...{ script: built('hub/child.js'), args: [model, work, String(seed)] },
      onFailure: (index, why) => {
        log(`case ${index}: ${why.split('\n')[0]}`);
        failures.push({ case: String(index), why });
      },
    });
    return { cases: done, failures };
  });
}
