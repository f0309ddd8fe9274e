/** What storing a block in fewer bits costs, measured on real text: the part of planning that nothing else can tell. */
import { join } from 'node:path';
import type { Precision } from '../../core/precision.ts';
import { type JobOptions, SILENT } from '../../core/progress.ts';
import type { Session } from '../../core/session.ts';
import { spreadEvenly } from '../../core/spread-evenly.ts';
import { type DrawnTokens, divergenceFrom, type Windows } from '../../eval/index.ts';
import type { PrecisionLosses } from '../../plan/index.ts';
import { jsonStage } from '../build/workspace.ts';
import type { BlockMix } from './workbench.ts';

/** Windows that each block is measured on. What they miss, the search on the whole text makes up for. */
const BLOCK_WINDOWS = 2;

interface Measured {
  readonly blocks: readonly string[];
  /** From the most exact to the coarsest. */
  readonly precisions: readonly Precision[];
  readonly open: (mix: BlockMix) => Promise<Session>;
  readonly windows: Windows;
  readonly drawn: DrawnTokens;
  /** Folder for what has been measured, so that a stopped run goes on. */
  readonly work: string;
}

/**
 * Measures each precision in all blocks, and the coarsest in each block alone. What a block costs in another precision is
 * its share of what that precision costs in all: a bit less doubles every error, whichever the block.
 */
export async function measureLosses(measured: Measured, options: JobOptions): Promise<PrecisionLosses> {
  const { blocks, precisions, work, drawn } = measured;
  const few = spreadEvenly([...measured.windows.keys()], BLOCK_WINDOWS);
  const windows = few.map((index) => measured.windows[index]);
  const draws = { draws: few.map((index) => drawn.draws[index]), windows: few.map((index) => drawn.windows[index]) };
  const stage = (options.progress ?? SILENT).stage('Measuring losses', blocks.length + precisions.length, 'models');
  const klOf = (name: string, mix: BlockMix) =>
    jsonStage<{ kl: number }>(join(work, `${name}.json`), async () => {
      const session = await measured.open(mix);
      const quiet = { signal: options.signal };
      const { kl } = await divergenceFrom(draws, session, windows, quiet).finally(() => session.close());
      return { kl: kl.reduce((sum, one) => sum + one, 0) / kl.length };
    }).finally(() => stage.advance(1));
  const whole: Record<string, number> = {};
  for (const precision of precisions) {
    const mix = new Map(blocks.map((block) => [block, precision]));
    whole[precision.name] = (await klOf(precision.name, mix)).kl;
  }
  const coarsest = precisions[precisions.length - 1];
  const added: number[] = [];
  for (const block of blocks) {
    const { kl } = await klOf(block, new Map([[block, coarsest]]));
    // A loss of nothing is measured as a little more or less.
    added.push(Math.max(0, kl - whole[precisions[0].name]));
  }
  stage.done();
  const total = added.reduce((sum, one) => sum + one, 0);
  const shares = blocks.map((block, at) => [block, total === 0 ? 1 / blocks.length : added[at] / total]);
  return { whole, shares: Object.fromEntries(shares) };
}
