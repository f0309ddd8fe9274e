/**
 * Races for a workspace whose lock a dead process left. Never two processes may be in it, and one of them must get in.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { THIS_PROCESS } from '../formats/process.ts';
import { type Campaign, type CampaignOptions, type CampaignResult, eachCase } from './campaign.ts';
import { built } from './harness/paths.ts';
import { type Random, randomOfCase } from './harness/random.ts';
import { withScratch } from './harness/scratch.ts';

export const locks: Campaign = { name: 'locks', run };

export interface Race {
  readonly workspace: string;
  /** A file beside it that the process inside makes. */
  readonly holder: string;
  readonly holdMs: number;
  /** Start of the race, by `Date.now()`. */
  readonly at: number;
}

/** How a race ended for a process. */
export type Result = 'held' | 'refused' | 'not alone' | `failed: ${string}`;

const RACERS = 6;

/** Time from the call to the start. All processes have read the message by then. */
const AHEAD_MS = 10;

interface Racer {
  readonly process: ChildProcess;
  readonly race: (race: Race) => Promise<Result>;
}

async function run(options: CampaignOptions): Promise<CampaignResult> {
  return withScratch(async (scratch) => {
    const racers = Array.from({ length: RACERS }, startRacer);
    try {
      return await eachCase(options, (index) => race(join(scratch, String(index)), racers, options.seed, index));
    } finally {
      for (const racer of racers) racer.process.kill();
    }
  });
}

function startRacer(): Racer {
  const child = spawn(process.execPath, [built('locks/child.js')], { stdio: ['pipe', 'pipe', 'inherit'] });
  // If one is gone, its next line shows it.
  child.stdin.on('error', () => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const race = async (race: Race): Promise<Result> => {
    child.stdin.write(`${JSON.stringify(race)}\n`);
    return (await lines.next()).value ?? 'failed: its process ended';
  };
  return { process: child, race };
}

async function race(
  folder: string,
  racers: readonly Racer[],
  seed: number,
  index: number,
): Promise<string | undefined> {
  const random = randomOfCase(seed, index);
  const workspace = join(folder, 'work');
  mkdirSync(workspace, { recursive: true });
  const lock = staleLock(random);
  if (lock !== undefined) writeFileSync(`${workspace}.lock`, lock);
  const one = { workspace, holder: join(folder, 'holder'), holdMs: random.int(20), at: Date.now() + AHEAD_MS };
  const results = await Promise.all(racers.map((racer) => racer.race(one)));
  // A workspace without a stage goes when its lock goes.
  const left = readdirSync(folder, { recursive: true, encoding: 'utf8' }).join(', ');
  rmSync(folder, { recursive: true, force: true });
  const proper = results.every((result) => result === 'held' || result === 'refused') && results.includes('held');
  if (!proper) return `lock ${lock}: ${results.join(', ')}`;
  return left === '' ? undefined : `lock ${lock}: left behind ${left}`;
}

/** The content of a lock that no living process holds; undefined for no lock. Process ids are below 2^22 on Linux. */
function staleLock(random: Random): string | undefined {
  const { host } = THIS_PROCESS;
  return random.pick([
    undefined,
    JSON.stringify({ host, pid: 2 ** 30, started: 1 }),
    JSON.stringify({ host, pid: 2 ** 30 + random.int(2 ** 20), started: 1, nonce: 'x' }),
    JSON.stringify({ host: 'elsewhere.invalid', pid: 1 }),
    ...['', '{"ho', 'null', '[]', '{}', '"x"', '7'],
    ...[0, -1, 0.5, 1e300, null, 'x'].map((pid) => JSON.stringify({ host, pid, started: 1 })),
  ]);
}
