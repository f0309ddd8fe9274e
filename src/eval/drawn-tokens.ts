/**
 * The KL divergence of many models from one, of whose logits nothing is kept but log-probabilities of a few tokens a
 * position: tokens drawn from its own distribution.
 *
 * With p of the reference, q of a model and r = q / p, KL(p || q) = E_p[r - 1 - log r], since E_p[r] = 1. Each term is at
 * least 0, and small where q is near p (Schulman 2020, "Approximating KL divergence"). So few draws tell small
 * divergences, where single tokens of a text would need a thousand times as many positions.
 */
import { throwIfAborted } from '../core/errors.ts';
import { type JobOptions, type ProgressStage, SILENT } from '../core/progress.ts';
import type { Session } from '../core/session.ts';
import { logSumExp } from './log-softmax.ts';
import { checkFinite, rowOf, type TextScores } from './perplexity.ts';
import type { Windows } from './windows.ts';

/** Draws a position. With 32, chance in drawing is smaller than chance in the choice of a few thousand positions. */
const DRAWS = 32;

/** The golden ratio's fraction: the positions' offsets lie evenly in [0, 1). */
const GOLDEN = 0.6180339887498949;

/** A reference's draws, and how it scores the text itself. */
export interface DrawnTokens extends TextScores {
  /** By window, then position: tokens, and the reference's log-probability of each. */
  readonly draws: readonly (readonly PositionDraws[])[];
}

interface PositionDraws {
  readonly tokens: readonly number[];
  readonly logProbabilities: readonly number[];
}

/** A model's divergence from the reference, and how it scores the text. */
export interface Divergence extends TextScores {
  /** In nats a token, by window. */
  readonly kl: readonly number[];
}

/** Feeds each window whole. The same session and windows give the same draws. */
export async function drawTokens(session: Session, windows: Windows, options: JobOptions = {}): Promise<DrawnTokens> {
  const stage = stageOf('Drawing tokens', windows, options);
  const draws: PositionDraws[][] = [];
  const scores: number[][] = [];
  for (const window of windows) {
    const drawn: PositionDraws[] = [];
    const nlls: number[] = [];
    await eachPosition(session, window, options, (logits, row) => {
      const total = checkFinite(logSumExp(logits));
      const tokens = systematicDraws(logits, total, (GOLDEN * (row + 1)) % 1);
      drawn.push({ tokens, logProbabilities: tokens.map((token) => logits[token] - total) });
      nlls.push(total - logits[window[row + 1]]);
    });
    draws.push(drawn);
    scores.push(nlls);
    stage.advance(window.length);
  }
  stage.done();
  return { draws, windows: scores };
}

/** How far a model is from the reference on the windows that the draws are of. */
export async function divergenceFrom(
  drawn: DrawnTokens,
  session: Session,
  windows: Windows,
  options: JobOptions = {},
): Promise<Divergence> {
  const stage = stageOf('Measuring divergence', windows, options);
  const kl: number[] = [];
  const scores: number[][] = [];
  for (const [index, window] of windows.entries()) {
    const nlls: number[] = [];
    let sum = 0;
    await eachPosition(session, window, options, (logits, row) => {
      const total = checkFinite(logSumExp(logits));
      const { tokens, logProbabilities } = drawn.draws[index][row];
      const terms = tokens.map((token, at) => {
        const log = logits[token] - total - logProbabilities[at];
        return Math.expm1(log) - log;
      });
      sum += terms.reduce((all, term) => all + term, 0) / terms.length;
      nlls.push(total - logits[window[row + 1]]);
    });
    kl.push(sum / nlls.length);
    scores.push(nlls);
    stage.advance(window.length);
  }
  stage.done();
  return { kl, windows: scores };
}

function stageOf(label: string, windows: Windows, { progress = SILENT }: JobOptions): ProgressStage {
  return progress.stage(label, windows.length * windows[0].length, 'tokens');
}

async function eachPosition(
  session: Session,
  window: readonly number[],
  { signal }: JobOptions,
  use: (logits: Float32Array, row: number) => void,
): Promise<void> {
  throwIfAborted(signal);
  const { logits, rows, vocab } = await session.step(window.slice(0, -1), session.emptyCache(), { logits: 'all' });
  for (let row = 0; row < rows; row++) use(rowOf(logits, row, vocab), row);
}

/**
 * Tokens at evenly spaced quantiles of the distribution, in the order of ids, from an offset in [0, 1): each token is
 * drawn with its probability, and none more than once too often.
 */
function systematicDraws(logits: Float32Array, total: number, offset: number): number[] {
  const tokens: number[] = [];
  let cumulative = 0;
  let last = 0;
  for (let token = 0; token < logits.length && tokens.length < DRAWS; token++) {
    const probability = Math.exp(logits[token] - total);
    if (probability > 0) last = token;
    cumulative += probability;
    while (tokens.length < DRAWS && cumulative > (tokens.length + offset) / DRAWS) tokens.push(token);
  }
  // Sums of rounded probabilities may end just below 1.
  while (tokens.length < DRAWS) tokens.push(last);
  return tokens;
}
