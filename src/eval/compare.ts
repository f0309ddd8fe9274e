/** A sparse model against its dense baseline, window by window, so that no logits are kept longer than one window. */
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import { type JobOptions, SILENT } from '../core/progress.ts';
import type { Session, Step } from '../core/session.ts';
import { scorePair } from './log-softmax.ts';
import { checkFinite, type Perplexity, perplexityOf, rowOf } from './perplexity.ts';
import {
  type Counts,
  chunksOf,
  countStep,
  type FfnShape,
  mergeCounts,
  type RealisedSparsity,
  realisedSparsity,
} from './realised-sparsity.ts';

/** Which tokens run sparse; DEFINITIONS says it in full. */
export const COMPARE_MODES = ['all', 'decode'] as const;
export type CompareMode = (typeof COMPARE_MODES)[number];

export interface CompareOptions extends JobOptions {
  readonly mode: CompareMode;
  readonly ffn: FfnShape;
  /**
   * How the sparse model is fed what is scored. `chunk`: in one call, which gives the logits of token-by-token decoding
   * where each token is decided on its own. `token`: one token a call, as plans need whose calls with several tokens run dense.
   */
  readonly feed: 'chunk' | 'token';
}

export interface Comparison {
  readonly mode: CompareMode;
  readonly feed: 'chunk' | 'token';
  readonly windows: number;
  readonly windowLength: number;
  readonly scoredTokens: number;
  readonly dense: Perplexity;
  readonly sparse: Perplexity;
  readonly perplexityRatio: number;
  /** null with a single window. */
  readonly perplexityRatioStandardError: number | null;
  readonly meanKl: number;
  readonly top1Agreement: number;
  /** null when the sparse model has no outputs that tell. */
  readonly realised: RealisedSparsity | null;
}

/** Sums over scored tokens. */
interface Tally {
  readonly tokens: number;
  readonly denseNll: number;
  readonly sparseNll: number;
  readonly kl: number;
  readonly agreed: number;
  readonly counts: Counts;
}

/**
 * `windows` come from `cutWindows`. Throws `mismatch` for models of different vocabularies, `non-finite` for NaN logits.
 *
 * @example
 * const result = await compare(dense, sparse, windows, { mode: 'decode', feed: 'chunk', ffn: spec });
 */
export async function compare(
  dense: Session,
  sparse: Session,
  windows: readonly (readonly number[])[],
  options: CompareOptions,
): Promise<Comparison> {
  const { mode, progress = SILENT, signal } = options;
  const stage = progress.stage(
    `Comparing with the dense model, mode ${mode}`,
    windows.length * windows[0].length,
    'tokens',
  );
  const tallies: Tally[] = [];
  for (const window of windows) {
    throwIfAborted(signal);
    tallies.push(await compareWindow(dense, sparse, window, options));
    stage.advance(window.length);
  }
  const result = summarise(tallies, windows[0].length, sparse.extraOutputs.length > 0, options);
  stage.done(`perplexity ratio ${result.perplexityRatio.toFixed(4)}`);
  return result;
}

async function compareWindow(
  dense: Session,
  sparse: Session,
  window: readonly number[],
  { mode, feed, ffn, signal }: CompareOptions,
): Promise<Tally> {
  const first = mode === 'all' ? 0 : Math.floor(window.length / 2);
  const before = first === 0 ? undefined : (await dense.step(window.slice(0, first), dense.emptyCache())).cache;
  const fed = window.slice(first, -1);
  const targets = window.slice(first + 1);
  const baseline = await dense.step(fed, before ?? dense.emptyCache(), { logits: 'all' });
  // Both go on from the dense cache, or each from an empty one of its own float type.
  let cache = before ?? sparse.emptyCache();
  const parts: Tally[] = [];
  let at = 0;
  for (const chunk of chunksOf(fed, feed)) {
    throwIfAborted(signal);
    const step = await sparse.step(chunk, cache, { logits: 'all' });
    const counts = countStep(step.extras, step.rows, ffn);
    parts.push({ ...tallyStep(baseline, at, step, targets.slice(at)), counts });
    cache = step.cache;
    at += chunk.length;
  }
  return parts.reduce(addTallies);
}

/** Scores the rows of `step` against those of `baseline` from row `first` on; `targets` are the tokens that follow. */
function tallyStep(baseline: Step, first: number, step: Step, targets: readonly number[]): Omit<Tally, 'counts'> {
  const { vocab, rows } = step;
  if (vocab !== baseline.vocab)
    throw new LacunaError('mismatch', `Expected the baseline's vocabulary of ${baseline.vocab}, but it is ${vocab}`, {
      hint: 'Compare a sparse model with the dense model of the same checkpoint.',
    });
  const sums = { tokens: rows, denseNll: 0, sparseNll: 0, kl: 0, agreed: 0 };
  for (let row = 0; row < rows; row++) {
    const denseRow = rowOf(baseline.logits, first + row, vocab);
    const pair = scorePair(denseRow, rowOf(step.logits, row, vocab), targets[row]);
    sums.denseNll += checkFinite(pair.dense.nll);
    sums.sparseNll += checkFinite(pair.sparse.nll);
    sums.kl += checkFinite(pair.kl);
    if (pair.dense.top === pair.sparse.top) sums.agreed++;
  }
  return sums;
}

function addTallies(a: Tally, b: Tally): Tally {
  return {
    tokens: a.tokens + b.tokens,
    denseNll: a.denseNll + b.denseNll,
    sparseNll: a.sparseNll + b.sparseNll,
    kl: a.kl + b.kl,
    agreed: a.agreed + b.agreed,
    counts: mergeCounts(a.counts, b.counts),
  };
}

function summarise(
  windows: readonly Tally[],
  windowLength: number,
  hasExtras: boolean,
  { mode, feed, ffn }: CompareOptions,
): Comparison {
  const all = windows.reduce(addTallies);
  const dense = perplexityOf(all.denseNll, all.tokens);
  const sparse = perplexityOf(all.sparseNll, all.tokens);
  const perplexityRatio = Math.exp(sparse.meanNll - dense.meanNll);
  const error = standardError(windows.map(({ tokens, denseNll, sparseNll }) => (sparseNll - denseNll) / tokens));
  return {
    mode,
    feed,
    windows: windows.length,
    windowLength,
    scoredTokens: all.tokens,
    dense,
    sparse,
    perplexityRatio,
    perplexityRatioStandardError: error === null ? null : perplexityRatio * error,
    meanKl: all.kl / all.tokens,
    top1Agreement: all.agreed / all.tokens,
    realised: hasExtras ? realisedSparsity(all.counts, ffn) : null,
  };
}

/** Standard error of the mean. */
function standardError(values: readonly number[]): number | null {
  if (values.length < 2) return null;
  const mean = values.reduce((total, value) => total + value, 0) / values.length;
  const squares = values.reduce((total, value) => total + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1) / values.length);
}
