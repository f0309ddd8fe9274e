/** A hostile Hub on this machine. Whatever it answers, a download ends in bounded time, memory and place. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Campaign, CampaignOptions, CampaignResult, Failure } from './campaign.ts';
import { built, repository } from './harness/paths.ts';
import { withScratch } from './harness/scratch.ts';
import { rangeOf, supervise } from './harness/supervise.ts';
import { makeCheckpoint } from './inputs/seeds.ts';

export const hub: Campaign = { name: 'hub', run };

async function run(options: CampaignOptions): Promise<CampaignResult> {
  return withScratch(async (scratch) => {
    const model = join(scratch, 'model');
    const work = join(scratch, 'work');
    await makeCheckpoint(model, repository('fixtures'));
    mkdirSync(work);
    const failures: Failure[] = [];
    const done = await supervise({
      ...rangeOf(options),
      script: built('hub/child.js'),
      args: [model, work, String(options.seed)],
      onFailure: (index, why) => {
        options.log(`case ${index}: ${why.split('\n')[0]}`);
        failures.push({ case: String(index), why });
      },
    });
    return { cases: done, failures };
  });
}
