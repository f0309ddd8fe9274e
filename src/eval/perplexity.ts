/** Perplexity of one model. */
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import { type JobOptions, SILENT } from '../core/progress.ts';
import type { Session } from '../core/session.ts';
import { score } from './log-softmax.ts';
import type { Windows } from './windows.ts';

export interface Perplexity {
  readonly perplexity: number;
  /** In nats for each scored token. */
  readonly meanNll: number;
}

export interface PerplexityResult extends Perplexity {
  readonly windows: number;
  readonly windowLength: number;
  readonly scoredTokens: number;
}

/** Every scored token's negative log-likelihood, by window: all that ratios need of logits 2,000 times as large. */
export interface TextScores {
  readonly windows: readonly (readonly number[])[];
}

/** `windows` come from `cutWindows`. Throws `non-finite` when the model's logits are. */
export async function scoreWindows(
  session: Session,
  windows: Windows,
  { progress = SILENT, signal }: JobOptions = {},
): Promise<TextScores> {
  const stage = progress.stage('Measuring perplexity', windows.length * windows[0].length, 'tokens');
  const scored: number[][] = [];
  for (const window of windows) {
    throwIfAborted(signal);
    const { logits, rows, vocab } = await session.step(window.slice(0, -1), session.emptyCache(), { logits: 'all' });
    const nll = (row: number) => checkFinite(score(rowOf(logits, row, vocab), window[row + 1]).nll);
    scored.push(Array.from({ length: rows }, (_, row) => nll(row)));
    stage.advance(window.length);
  }
  stage.done(`perplexity ${summariseScores({ windows: scored }).perplexity.toFixed(3)}`);
  return { windows: scored };
}

/** A model's perplexity alone. Throws as `scoreWindows` does. */
export async function measurePerplexity(
  session: Session,
  windows: Windows,
  options: JobOptions = {},
): Promise<PerplexityResult> {
  return summariseScores(await scoreWindows(session, windows, options));
}

/** The perplexity of these scores. */
function summariseScores({ windows }: TextScores): PerplexityResult {
  const all = windows.flat();
  const nll = all.reduce((sum, value) => sum + value, 0);
  const windowLength = windows[0].length + 1;
  return { ...perplexityOf(nll, all.length), windows: windows.length, windowLength, scoredTokens: all.length };
}

export function perplexityOf(nllSum: number, scoredTokens: number): Perplexity {
  const meanNll = nllSum / scoredTokens;
  return { perplexity: Math.exp(meanNll), meanNll };
}

/** A view of one position's logits. */
export function rowOf(logits: Float32Array, row: number, vocab: number): Float32Array {
  return logits.subarray(row * vocab, (row + 1) * vocab);
}

export function checkFinite(nll: number): number {
  if (Number.isFinite(nll)) return nll;
  throw new LacunaError('non-finite', 'Expected finite logits but the model returned NaN or infinity', {
    hint: 'Check the checkpoint with `lacuna convert --verify`; the weights may overflow.',
  });
}
