/** Perplexity of one model. */
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import { type JobOptions, SILENT } from '../core/progress.ts';
import type { Session } from '../core/session.ts';
import { score } from './log-softmax.ts';

export interface Perplexity {
  readonly perplexity: number;
  /** In nats a scored token. */
  readonly meanNll: number;
}

export interface PerplexityResult extends Perplexity {
  readonly windows: number;
  readonly windowLength: number;
  readonly scoredTokens: number;
}

/** `windows` come from `cutWindows`. Throws `non-finite` when the model's logits are. */
export async function measurePerplexity(
  session: Session,
  windows: readonly (readonly number[])[],
  { progress = SILENT, signal }: JobOptions = {},
): Promise<PerplexityResult> {
  const stage = progress.stage('Measuring perplexity', windows.length * windows[0].length, 'tokens');
  let sum = 0;
  let scoredTokens = 0;
  for (const window of windows) {
    throwIfAborted(signal);
    const step = await session.step(window.slice(0, -1), session.emptyCache(), { logits: 'all' });
    for (let row = 0; row < step.rows; row++)
      sum += checkFinite(score(rowOf(step.logits, row, step.vocab), window[row + 1]).nll);
    scoredTokens += step.rows;
    stage.advance(window.length);
  }
  const result = {
    ...perplexityOf(sum, scoredTokens),
    windows: windows.length,
    windowLength: windows[0].length,
    scoredTokens,
  };
  stage.done(`perplexity ${result.perplexity.toFixed(3)}`);
  return result;
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
