/** What a sparse model leaves out on a text, without a baseline: what closing the loop on a plan needs. */
import { throwIfAborted } from '../core/errors.ts';
import { type JobOptions, SILENT } from '../core/progress.ts';
import type { Session } from '../core/session.ts';
import { countStep, type FfnShape, mergeCounts, type RealisedSparsity, realisedSparsity } from './realised-sparsity.ts';

/** Every token runs sparse, each window from an empty cache (mode `all` of DEFINITIONS). */
export async function measureRealised(
  session: Session,
  windows: readonly (readonly number[])[],
  ffn: FfnShape,
  { progress = SILENT, signal }: JobOptions = {},
): Promise<RealisedSparsity> {
  const stage = progress.stage('realised sparsity', windows.length * windows[0].length, 'tokens');
  let counts = countStep({}, 0, ffn);
  for (const window of windows) {
    throwIfAborted(signal);
    const { extras } = await session.step(window, session.emptyCache());
    counts = mergeCounts(counts, countStep(extras, window.length, ffn));
    stage.advance(window.length);
  }
  stage.done();
  return realisedSparsity(counts, ffn);
}
