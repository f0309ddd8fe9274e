/** A model against a baseline, window by window, so that logits are kept for only one window at a time. */
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import { type JobOptions, SILENT } from '../core/progress.ts';
import type { Session, Step } from '../core/session.ts';
import { scorePair } from './log-softmax.ts';
import { checkFinite, type Perplexity, perplexityOf, rowOf, type TextScores } from './perplexity.ts';
import { type Ratio, ratioOf } from './ratio.ts';
import {
  type Counts,
  chunksOf,
  countStep,
  type FfnShape,
  mergeCounts,
  type RealisedSparsity,
  realisedSparsity,
} from './realised-sparsity.ts';

/** Which tokens run sparse. DEFINITIONS has the full text. */
export const COMPARE_MODES = ['all', 'decode'] as const;
export type CompareMode = (typeof COMPARE_MODES)[number];

export interface CompareOptions extends JobOptions {
  readonly mode: CompareMode;
  readonly ffn: FfnShape;
  /**
   * How the sparse model gets the scored tokens. `chunk`: in one call. That gives the logits of token-by-token
   * decoding, because each token is decided on its own. `token`: one token a call, for plans that run calls of several
   * tokens dense.
   */
  readonly feed: 'chunk' | 'token';
  /**
   * The checkpoint floats' scores of the windows. If given, they are the baseline, and the losses by rounding and by
   * leaving out are separated.
   */
  readonly floats?: TextScores | undefined;
}

export interface Comparison {
  readonly mode: CompareMode;
  readonly feed: 'chunk' | 'token';
  readonly windows: number;
  readonly windowLength: number;
  readonly scoredTokens: number;
  readonly baseline: Perplexity;
  readonly model: Perplexity;
  /** The model's perplexity over the baseline's. */
  readonly perplexityRatio: Ratio;
  /**
   * The model with nothing left out, if the baseline is stored otherwise: its ratio to the baseline, and the model's
   * ratio to it.
   */
  readonly rounded: (Perplexity & { readonly rounding: Ratio; readonly leavingOut: Ratio }) | null;
  /** Against the model with nothing left out if there is one, else against the baseline. */
  readonly meanKl: number;
  readonly top1Agreement: number;
  /** null if the model has no such outputs. */
  readonly realised: RealisedSparsity | null;
}

/** Sums over scored tokens. */
interface Tally {
  readonly tokens: number;
  readonly denseNll: number;
  readonly modelNll: number;
  readonly kl: number;
  readonly agreed: number;
  readonly counts: Counts;
}

/** What a window adds to the sums. */
interface WindowTally extends Tally {
  readonly baselineNll: number;
}

/**
 * Compares `model` with `dense`, which also reads the tokens that are not scored. With `options.floats`, these are the
 * baseline, and `dense` is the model itself with nothing left out. Otherwise `dense` is the baseline. `windows` come
 * from `cutWindows`. Throws `mismatch` for models of different vocabularies, `non-finite` for NaN logits.
 *
 * @example
 * const result = await compare(dense, sparse, windows, { mode: 'decode', feed: 'chunk', ffn: spec });
 */
export async function compare(
  dense: Session,
  model: Session,
  windows: readonly (readonly number[])[],
  options: CompareOptions,
): Promise<Comparison> {
  const { mode, progress = SILENT, signal } = options;
  const stage = progress.stage(`Comparing, mode ${mode}`, windows.length * windows[0].length, 'tokens');
  const tallies: WindowTally[] = [];
  for (const [index, window] of windows.entries()) {
    throwIfAborted(signal);
    const tally = await compareWindow(dense, model, window, options);
    const floats = options.floats?.windows[index].slice(firstScored(window, mode));
    tallies.push({ ...tally, baselineNll: floats === undefined ? tally.denseNll : sum(floats) });
    stage.advance(window.length);
  }
  const result = summarise(tallies, windows[0].length, model.extraOutputs.length > 0, options);
  stage.done(`perplexity ratio ${result.perplexityRatio.value.toFixed(4)}`);
  return result;
}

/** The first token of a window that the model gets. The token after it is the first to be scored. */
function firstScored(window: readonly number[], mode: CompareMode): number {
  return mode === 'all' ? 0 : Math.floor(window.length / 2);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

async function compareWindow(
  dense: Session,
  model: Session,
  window: readonly number[],
  { mode, feed, ffn, signal }: CompareOptions,
): Promise<Tally> {
  const first = firstScored(window, mode);
  const before = first === 0 ? undefined : (await dense.step(window.slice(0, first), dense.emptyCache())).cache;
  const fed = window.slice(first, -1);
  const targets = window.slice(first + 1);
  const baseline = await dense.step(fed, before ?? dense.emptyCache(), { logits: 'all' });
  // Both continue the dense cache, or each starts with an empty one of its own float type.
  let cache = before ?? model.emptyCache();
  const parts: Tally[] = [];
  let at = 0;
  for (const chunk of chunksOf(fed, feed)) {
    throwIfAborted(signal);
    const step = await model.step(chunk, cache, { logits: 'all' });
    const counts = countStep(step.extras, step.rows, ffn);
    parts.push({ ...tallyStep(baseline, at, step, targets.slice(at)), counts });
    cache = step.cache;
    at += chunk.length;
  }
  return parts.reduce(addTallies);
}

/** Scores the rows of `step` against those of `baseline` from row `first` on. `targets` are the tokens that follow. */
function tallyStep(baseline: Step, first: number, step: Step, targets: readonly number[]): Omit<Tally, 'counts'> {
  const { vocab, rows } = step;
  if (vocab !== baseline.vocab)
    throw new LacunaError('mismatch', `Expected the baseline's vocabulary of ${baseline.vocab}, but it is ${vocab}`, {
      hint: 'Compare models of the same checkpoint.',
    });
  const sums = { tokens: rows, denseNll: 0, modelNll: 0, kl: 0, agreed: 0 };
  for (let row = 0; row < rows; row++) {
    const denseRow = rowOf(baseline.logits, first + row, vocab);
    const pair = scorePair(denseRow, rowOf(step.logits, row, vocab), targets[row]);
    sums.denseNll += checkFinite(pair.baseline.nll);
    sums.modelNll += checkFinite(pair.model.nll);
    sums.kl += checkFinite(pair.kl);
    if (pair.baseline.top === pair.model.top) sums.agreed++;
  }
  return sums;
}

function addTallies(a: Tally, b: Tally): Tally {
  return {
    tokens: a.tokens + b.tokens,
    denseNll: a.denseNll + b.denseNll,
    modelNll: a.modelNll + b.modelNll,
    kl: a.kl + b.kl,
    agreed: a.agreed + b.agreed,
    counts: mergeCounts(a.counts, b.counts),
  };
}

function summarise(
  windows: readonly WindowTally[],
  windowLength: number,
  hasExtras: boolean,
  { mode, feed, ffn, floats }: CompareOptions,
): Comparison {
  const all = windows.map((window): Tally => window).reduce(addTallies);
  const perplexity = (nll: (window: WindowTally) => number) => perplexityOf(sum(windows.map(nll)), all.tokens);
  const ratio = (of: (window: WindowTally) => number, to: (window: WindowTally) => number) =>
    ratioOf(windows.map((window) => (of(window) - to(window)) / window.tokens));
  return {
    mode,
    feed,
    windows: windows.length,
    windowLength,
    scoredTokens: all.tokens,
    baseline: perplexity(baselineNll),
    model: perplexity(modelNll),
    perplexityRatio: ratio(modelNll, baselineNll),
    rounded:
      floats === undefined
        ? null
        : { ...perplexity(denseNll), rounding: ratio(denseNll, baselineNll), leavingOut: ratio(modelNll, denseNll) },
    meanKl: all.kl / all.tokens,
    top1Agreement: all.agreed / all.tokens,
    realised: hasExtras ? realisedSparsity(all.counts, ffn) : null,
  };
}

const baselineNll = (window: WindowTally) => window.baselineNll;
const denseNll = (window: WindowTally) => window.denseNll;
const modelNll = (window: WindowTally) => window.modelNll;
