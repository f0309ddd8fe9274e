/** A model against a baseline, window by window, so that logits are kept for only one window at a time. */
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import { type JobOptions, SILENT } from '../core/progress.ts';
import type { Session, Step } from '../core/session.ts';
import { scorePair } from './log-softmax.ts';
import { checkFinite, type Perplexity, perplexityOf, rowOf, type TextScores } from './perplexity.ts';
import { boundedMean, type Ratio, ratioOf } from './ratio.ts';
import {
  type Counts,
  countStep,
  type FfnShape,
  mergeCounts,
  type RealisedSparsity,
  realisedSparsity,
} from './realised-sparsity.ts';
import type { Windows } from './windows.ts';

/** Which tokens run sparse. DEFINITIONS has the full text. */
export const COMPARE_MODES = ['all', 'decode'] as const;
export type CompareMode = (typeof COMPARE_MODES)[number];

export interface CompareOptions extends JobOptions {
  readonly mode: CompareMode;
  readonly ffn: FfnShape;
  /** The baseline: the floats' scores of the windows. With it, loss by rounding and loss by leaving out are separate. */
  readonly floats?: TextScores | undefined;
  /** In mode `decode` the model reads the first half itself: a cache of its kind cannot be handed over. */
  readonly ownCaches?: boolean | undefined;
}

export interface Comparison {
  readonly mode: CompareMode;
  readonly windows: number;
  readonly windowLength: number;
  readonly scoredTokens: number;
  readonly baseline: Perplexity;
  readonly model: Perplexity;
  /** The model's perplexity over the baseline's. */
  readonly perplexityRatio: Ratio;
  /** The model with nothing left out, if the baseline is stored otherwise, and the ratio of either step. */
  readonly rounded: (Perplexity & { readonly rounding: Ratio; readonly leavingOut: Ratio }) | null;
  /** Against the model with nothing left out if there is one, else against the baseline. */
  readonly meanKl: number;
  /** With a confidence of 95 % the mean is below this; null with a single window. */
  readonly klUpperBound: number | null;
  readonly top1Agreement: number;
  /** null if the model has no such outputs. */
  readonly realised: RealisedSparsity | null;
}

/** Sums over the scored tokens of a window. */
interface Tally {
  baselineNll: number;
  denseNll: number;
  modelNll: number;
  kl: number;
  agreed: number;
  tokens: number;
}

type WindowTally = Readonly<Tally> & { readonly counts: Counts };

/**
 * Compares `model` with `dense`, which also reads the tokens that are not scored. With `options.floats`, these are the
 * baseline, and `dense` is the model itself with nothing left out. Otherwise `dense` is the baseline. `windows` come
 * from `cutWindows`. Throws `mismatch` for models of different vocabularies, `non-finite` for NaN logits.
 */
export async function compare(
  dense: Session,
  model: Session,
  windows: Windows,
  options: CompareOptions,
): Promise<Comparison> {
  const { mode, progress = SILENT, signal } = options;
  const stage = progress.stage(`Comparing, mode ${mode}`, windows.length * windows[0].length, 'tokens');
  const tallies: WindowTally[] = [];
  for (const [index, window] of windows.entries()) {
    throwIfAborted(signal);
    tallies.push(await compareWindow(dense, model, window, options.floats?.windows[index], options));
    stage.advance(window.length);
  }
  const result = summarise(tallies, windows[0].length, model.extraOutputs.length > 0, options);
  stage.done(`perplexity ratio ${result.perplexityRatio.value.toFixed(4)}`);
  return result;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

async function compareWindow(
  dense: Session,
  model: Session,
  window: readonly number[],
  floats: readonly number[] | undefined,
  { mode, ffn, ownCaches = false }: CompareOptions,
): Promise<WindowTally> {
  // The first token that the model gets. The token after it is the first to be scored.
  const first = mode === 'all' ? 0 : Math.floor(window.length / 2);
  const cacheOf = async (session: Session) =>
    first === 0 ? session.emptyCache() : (await session.step(window.slice(0, first), session.emptyCache())).cache;
  const fed = window.slice(first, -1);
  const targets = window.slice(first + 1);
  const before = await cacheOf(dense);
  const baseline = await dense.step(fed, before, { logits: 'all' });
  // Both continue the dense cache, or each starts with an empty one of its own float type.
  const own = first === 0 || ownCaches ? await cacheOf(model) : before;
  const sparse = await model.step(fed, own, { logits: 'all' });
  const tally = tallyRows(baseline, sparse, targets);
  const baselineNll = floats === undefined ? tally.denseNll : sum(floats.slice(first));
  return { ...tally, baselineNll, counts: countStep(sparse.extras, sparse.rows, ffn) };
}

/** Scores the rows of `step` against those of `baseline`. `targets` come after them. */
function tallyRows(baseline: Step, step: Step, targets: readonly number[]): Tally {
  const { vocab, rows } = step;
  if (vocab !== baseline.vocab)
    throw new LacunaError('mismatch', `Expected the baseline's vocabulary of ${baseline.vocab}, but it is ${vocab}`, {
      hint: 'Compare models of the same checkpoint.',
    });
  const tally: Tally = { baselineNll: 0, denseNll: 0, modelNll: 0, kl: 0, agreed: 0, tokens: rows };
  for (let row = 0; row < rows; row++) {
    const pair = scorePair(rowOf(baseline.logits, row, vocab), rowOf(step.logits, row, vocab), targets[row]);
    tally.denseNll += checkFinite(pair.baseline.nll);
    tally.modelNll += checkFinite(pair.model.nll);
    tally.kl += checkFinite(pair.kl);
    if (pair.baseline.top === pair.model.top) tally.agreed++;
  }
  return tally;
}

function summarise(
  windows: readonly WindowTally[],
  windowLength: number,
  hasExtras: boolean,
  { mode, ffn, floats }: CompareOptions,
): Comparison {
  const total = (of: keyof Tally) => sum(windows.map((window) => window[of]));
  const tokens = total('tokens');
  const perplexity = (of: Nll) => perplexityOf(total(of), tokens);
  const ratio = (of: Nll, to: Nll) => ratioOf(windows.map((window) => (window[of] - window[to]) / window.tokens));
  const apart = () => {
    const [rounding, leavingOut] = [ratio('denseNll', 'baselineNll'), ratio('modelNll', 'denseNll')];
    return { ...perplexity('denseNll'), rounding, leavingOut };
  };
  return {
    mode,
    windows: windows.length,
    windowLength,
    scoredTokens: tokens,
    baseline: perplexity('baselineNll'),
    model: perplexity('modelNll'),
    perplexityRatio: ratio('modelNll', 'baselineNll'),
    rounded: floats === undefined ? null : apart(),
    meanKl: total('kl') / tokens,
    klUpperBound: boundedMean(windows.map(({ kl, tokens }) => kl / tokens)).upperBound,
    top1Agreement: total('agreed') / tokens,
    realised: hasExtras ? realisedSparsity(windows.map(({ counts }) => counts).reduce(mergeCounts), ffn) : null,
  };
}

type Nll = 'baselineNll' | 'denseNll' | 'modelNll';
