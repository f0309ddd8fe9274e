/** `lacuna build --budget --dry-run`: what a search would do, known from configs and texts alone. */
import { refusalOf } from '../../../formats/files.ts';
import type { HostKind } from '../../core/host-kind.ts';
import { choosePrecision, FLOATS, type Precision } from '../../core/precision.ts';
import { contentOf, openModels } from '../convert.ts';
import { freeBytesAt, type Problem, problemOf } from '../dry-run.ts';
import { planModelFolder } from '../folder/model-folder.ts';
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
  /** Of disk while it works: the model in every precision, its floats, and two that are chosen. */
  readonly workBytes: number;
  readonly freeBytes: number | undefined;
  /** Fault at which the search would stop at once. */
  readonly problem: Problem | undefined;
}

export async function describeAuto(job: AutoJob): Promise<AutoDryRun> {
  const { options, host, precisions, blocks, checkpoint, spec } = job;
  const { output, budget, force = false, texts, tokens = DEFAULT_TOKENS } = options;
  const bytesOf = async (stored: Precision) => {
    const files = await planModelFolder(contentOf(checkpoint, openModels(checkpoint, [stored], undefined)));
    return files.reduce((sum, { bytes }) => sum + bytes, 0);
  };
  const [floats, exact, ...others] = await Promise.all([choosePrecision(FLOATS), ...precisions].map(bytesOf));
  const { windows } = await readWindows(checkpoint, spec.contextLength, { data: texts.test, tokens });
  const refusal = await refusalOf(output, { force });
  return {
    ...{ output, budget, host },
    precisions: precisions.map(({ name }) => name),
    blocks: blocks.length,
    scoredTokens: windows.length * (windows[0].length - 1),
    isKept: await exists(autoOutputs(job).models),
    workBytes: others.reduce((sum, bytes) => sum + bytes, floats + 3 * exact),
    freeBytes: await freeBytesAt(output),
    problem: refusal && problemOf(refusal),
  };
}
