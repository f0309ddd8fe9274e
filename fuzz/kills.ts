/**
 * Commands that are ended at any moment and started again. The result must have the bytes of an undisturbed run, and
 * nothing else may remain.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Campaign, type CampaignOptions, type CampaignResult, eachCase } from './campaign.ts';
import { type Ended, runLacuna } from './harness/cli.ts';
import { WRITING, type WritingCommand } from './harness/commands.ts';
import { randomOfCase } from './harness/random.ts';
import { withScratch } from './harness/scratch.ts';
import { differenceOf, hashTree } from './harness/tree.ts';

export const kills: Campaign = { name: 'kills', run };

const SIGNALS: readonly NodeJS.Signals[] = ['SIGKILL', 'SIGKILL', 'SIGKILL', 'SIGINT', 'SIGTERM'];

/** Longer than an undisturbed run, so that its very end is hit too. */
const REACH = 1.1;

/** How a command ends when a signal stopped it cleanly. */
const STOPPED = 130;

interface Undisturbed {
  readonly tree: ReadonlyMap<string, string>;
  readonly seconds: number;
}

async function run(options: CampaignOptions): Promise<CampaignResult> {
  return withScratch(async (scratch) => {
    const known = new Map<string, Undisturbed>();
    const undisturbed = async (command: WritingCommand): Promise<Undisturbed> => {
      const found = known.get(command.name) ?? (await runUndisturbed(command, join(scratch, 'whole'), options.signal));
      known.set(command.name, found);
      return found;
    };
    return eachCase(options, async (index) => {
      const random = randomOfCase(options.seed, index);
      // In turn, so that a few cases cover every command.
      const command = WRITING[index % WRITING.length];
      const whole = await undisturbed(command);
      const afterMs = random.int(Math.ceil(1000 * REACH * whole.seconds));
      const disturbance = { signal: random.pick(SIGNALS), afterMs };
      const folder = join(scratch, String(index));
      const why = await killAndRepeat(command, folder, whole, disturbance, options.signal);
      rmSync(folder, { recursive: true, force: true });
      return why && `${command.name}, ${disturbance.signal} after ${afterMs} ms: ${why}`;
    });
  });
}

async function runUndisturbed(command: WritingCommand, folder: string, stop: AbortSignal): Promise<Undisturbed> {
  await prepare(command, folder, stop);
  const { seconds } = await succeed(command.args(folder), stop);
  const tree = hashTree(folder);
  rmSync(folder, { recursive: true, force: true });
  return { tree, seconds };
}

async function prepare({ prepare }: WritingCommand, folder: string, stop: AbortSignal): Promise<void> {
  mkdirSync(folder);
  if (prepare !== undefined) await succeed(prepare(folder), stop);
}

async function succeed(args: readonly string[], stop: AbortSignal): Promise<Ended> {
  const ended = await runLacuna(args, stop);
  if (ended.code === 0 || stop.aborted) return ended;
  throw new Error(`lacuna ${args.join(' ')} ended with ${ended.code}: ${ended.stderr}`);
}

async function killAndRepeat(
  command: WritingCommand,
  folder: string,
  whole: Undisturbed,
  disturbance: { readonly signal: NodeJS.Signals; readonly afterMs: number },
  stop: AbortSignal,
): Promise<string | undefined> {
  await prepare(command, folder, stop);
  const killed = await runLacuna(command.args(folder), stop, disturbance);
  const isProper = killed.code === 0 || killed.code === STOPPED || killed.signal === disturbance.signal;
  if (!isProper) return `it ended with ${killed.code ?? killed.signal}: ${killed.stderr}`;
  const partial = killed.code === STOPPED && [...hashTree(folder).keys()].find((name) => /^[^/]*\.partial-/.test(name));
  if (partial) return `stopped in its own time, it left ${partial}`;
  const again = await runLacuna(command.args(folder), stop);
  // If it was done before the signal came, its output exists already.
  const isDone = again.code === 2 && again.stderr.includes('already exists');
  if (again.code !== 0 && !isDone) return `started again, it ended with ${again.code ?? again.signal}: ${again.stderr}`;
  return differenceOf(whole.tree, hashTree(folder));
}
