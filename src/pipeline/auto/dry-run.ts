/** `lacuna build --budget --dry-run`: what a search would do, known from configs and texts alone. */
import { refusalOf } from '../../../formats/files.ts';
import type { HostKind } from '../../core/host-kind.ts';
import { choosePrecision, FLOATS } from '../../core/precision.ts';
import { denseFolderBytes, freeBytesAt, lackOfSpace, type Problem, problemOf } from '../dry-run.ts';
import { exists } from '../folder/output.ts';
import { DEFAULT_TOKENS, readWindows } from '../texts/windows.ts';
import { type AutoJob, autoOutputs } from './job.ts';

export interface AutoDryRun {
  readonly output: string;
  readonly budget: string;
  readonly host: HostKind;
  /** From the most exact to the coarsest. */
  readonly precisions: readonly string[];
  /** That each may have a precision of its own. */
  readonly blocks: number;
  /** Tokens of the test text that are scored. */
  readonly scoredTokens: number;
  /** Whether an earlier run has written the model in all precisions. */
  readonly isKept: boolean;
  /** Of disk that it still needs: the model in every precision, its floats, and two that are chosen. */
  readonly workBytes: number;
  readonly freeBytes: number | undefined;
  /** Fault at which the search would stop at once. */
  readonly problem: Problem | undefined;
}

export async function describeAuto(job: AutoJob): Promise<AutoDryRun> {
  const { options, host, precisions, blocks, checkpoint, spec } = job;
  const { output, budget, force = false, texts, tokens = DEFAULT_TOKENS } = options;
  const { workBytes, freeBytes, lack } = await spaceFor(job);
  const { windows } = await readWindows(checkpoint, spec.contextLength, { data: texts.test, tokens });
  const refusal = (await refusalOf(output, { force })) ?? lack;
  return {
    ...{ output, budget, host },
    precisions: precisions.map(({ name }) => name),
    blocks: blocks.length,
    scoredTokens: windows.length * (windows[0].length - 1),
    isKept: await exists(autoOutputs(job).models),
    workBytes,
    freeBytes,
    problem: refusal && problemOf(refusal),
  };
}

/** What a search still writes, and what is free for it. */
export async function spaceFor(job: AutoJob) {
  const { checkpoint, precisions } = job;
  const { floats, models, choice } = autoOutputs(job);
  const [wide, ...stored] = await Promise.all(
    [choosePrecision(FLOATS), ...precisions].map((stored) => denseFolderBytes(checkpoint, stored)),
  );
  const [hasFloats, hasModels, hasChosen] = await Promise.all([floats, models, choice].map(exists));
  const inAll = stored.reduce((sum, bytes) => sum + bytes, 0);
  const workBytes = (hasFloats ? 0 : wide) + (hasModels ? 0 : inAll) + (hasChosen ? 0 : 2 * stored[0]);
  const freeBytes = await freeBytesAt(job.work);
  const lack = lackOfSpace('The models to choose from', job.work, workBytes, freeBytes, 'convert to one --dtype');
  return { workBytes, freeBytes, lack };
}
