/**
 * A disk that fills up while a command writes. The command must say so and leave nothing, and old outputs must stay.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Campaign, type CampaignOptions, type CampaignResult, eachCase } from './campaign.ts';
import { runLacuna } from './harness/cli.ts';
import { WRITING, type WritingCommand } from './harness/commands.ts';
import { randomOfCase } from './harness/random.ts';
import { withScratch } from './harness/scratch.ts';
import { differenceOf, hashTree } from './harness/tree.ts';

export const disk: Campaign = { name: 'disk', run };

/** About what the largest command needs: the model in float32 several times. */
const MOST_KIB = 48 << 10;

/** Files that a command keeps for its own next run. */
const KEPT = /^out\.(build|rounding)\//;

async function run(options: CampaignOptions): Promise<CampaignResult> {
  return withScratch(async (scratch) => {
    const folder = join(scratch, 'disk');
    mkdirSync(folder);
    if (!mount(folder, MOST_KIB)) {
      options.log('skipped: no file system can be mounted here (it takes root)');
      return { cases: 0, failures: [] };
    }
    unmount(folder);
    return eachCase(options, async (index) => {
      const command = WRITING[index % WRITING.length];
      const kib = randomOfCase(options.seed, index).int(MOST_KIB);
      if (!mount(folder, kib)) throw new Error(`No disk of ${kib} KiB could be mounted`);
      const why = await fill(command, folder, options.signal).finally(() => unmount(folder));
      return why && `${command.name} on a disk of ${kib} KiB: ${why}`;
    });
  });
}

/** An empty disk of this number of KiB in memory; false if the system refuses. */
function mount(folder: string, kib: number): boolean {
  const size = `size=${Math.max(kib, 4)}k`;
  return spawnSync('mount', ['-t', 'tmpfs', '-o', size, 'tmpfs', folder], { stdio: 'ignore' }).status === 0;
}

function unmount(folder: string): void {
  execFileSync('umount', [folder]);
}

async function fill(command: WritingCommand, folder: string, stop: AbortSignal): Promise<string | undefined> {
  // If not even the required files fit, there is no case.
  if (command.prepare !== undefined && (await runLacuna(command.prepare(folder), stop)).code !== 0) return undefined;
  const before = hashTree(folder);
  const { code, signal, stdout, stderr } = await runLacuna([...command.args(folder), '--json'], stop);
  if (code === 0) return undefined;
  if (code !== 2) return `it ended with ${code ?? signal}: ${stderr}`;
  const { error } = JSON.parse(stdout);
  if (error.code !== 'io' || !error.message.includes(folder)) return `its error was ${error.code}: ${error.message}`;
  const after = new Map([...hashTree(folder)].filter(([name]) => !KEPT.test(name) || name.includes('.partial-')));
  return differenceOf(before, after);
}
