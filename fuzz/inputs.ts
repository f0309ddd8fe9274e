/** Files of every kind with changes, read as the commands read them. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { type Campaign, type CampaignOptions, type CampaignResult, type Failure, replayCommand } from './campaign.ts';
import { built, repository } from './harness/paths.ts';
import { withScratch } from './harness/scratch.ts';
import { type Range, rangeOf, supervise } from './harness/supervise.ts';
import { chooseCase, filesOfCase, soundFiles, withoutMutations } from './inputs/case.ts';
import { writeInput } from './inputs/files.ts';
import { makeSeeds } from './inputs/seeds.ts';

export const inputs: Campaign = { name: 'inputs', run };

async function run(options: CampaignOptions): Promise<CampaignResult> {
  const { seed, signal, log } = options;
  return withScratch(async (scratch) => {
    const bench = { seeds: join(scratch, 'seeds'), work: join(scratch, 'work'), seed };
    await makeSeeds(bench.seeds, repository('fixtures'));
    mkdirSync(bench.work);
    const sound = soundFiles(bench.seeds);
    const found = new Map<string, { readonly index: number; readonly why: string }>();
    const onFailure = (index: number, why: string) => {
      const kind = kindOf(why, chooseCase(seed, index, sound).use.name);
      if (found.has(kind)) return;
      log(`case ${index}: ${why.split('\n').slice(0, 4).join('\n  ')}`);
      found.set(kind, { index, why });
    };
    const done = await runCases(bench, { ...rangeOf(options), onFailure });
    const failures: Failure[] = [];
    for (const { index, why } of found.values()) failures.push(await reproduce(bench, index, why, signal));
    return { cases: done, failures };
  });
}

/** What failures of one defect have in common: everything but names and numbers. */
function kindOf(why: string, use: string): string {
  const place = /\n\s+at (.*)/.exec(why)?.[1] ?? use;
  return `${why
    .split('\n')[0]
    .replace(/"[^"]*"|\/\S+|\d+|\p{Cc}/gu, '#')
    .slice(0, 160)} ${place}`;
}

interface Bench {
  readonly seeds: string;
  readonly work: string;
  readonly seed: number;
}

function runCases({ seeds, work, seed }: Bench, range: Range, without: readonly number[] = []): Promise<number> {
  return supervise({ ...range, script: built('inputs/child.js'), args: [seeds, work, String(seed), without.join()] });
}

/** The smallest form of a failed case that still fails, written to disk for inspection. */
async function reproduce(bench: Bench, index: number, why: string, signal: AbortSignal): Promise<Failure> {
  const sound = soundFiles(bench.seeds);
  const one = chooseCase(bench.seed, index, sound);
  const smallest = await shrink(bench, index, one.mutations.length, { why, without: [] }, signal);
  const folder = repository('.fuzz', `inputs-${bench.seed}-${index}`);
  rmSync(folder, { recursive: true, force: true });
  writeInput(filesOfCase(withoutMutations(one, smallest.without), sound(one.kind.folder)), join(folder, 'input'));
  const file = join(folder, 'failure.txt');
  const lines = [one.use.name, smallest.why, `Again: ${replayCommand('inputs', bench.seed, index)}`];
  writeFileSync(file, `${lines.join('\n\n')}\n`);
  return { case: String(index), why: smallest.why, file: relative(repository(), file) };
}

interface Shrunk {
  readonly why: string;
  /** Numbers of changes that are not needed for the failure. */
  readonly without: readonly number[];
}

/** Leaves out one change after the other, as long as the case still fails. */
async function shrink(bench: Bench, index: number, count: number, found: Shrunk, signal: AbortSignal): Promise<Shrunk> {
  let smallest = found;
  for (let i = 0; i < count && count - smallest.without.length > 1 && !signal.aborted; i++) {
    const without = [...smallest.without, i];
    let fails: string | undefined;
    const onFailure = (_: number, why: string) => {
      fails = why;
    };
    const one = { from: index, cases: 1, deadline: Number.POSITIVE_INFINITY, jobs: 1, signal, onFailure };
    await runCases(bench, one, without);
    if (fails !== undefined) smallest = { why: fails, without };
  }
  return smallest;
}
