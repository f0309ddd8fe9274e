/** Compares a converted model with what another implementation computes from its checkpoint, and judges it. */
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import type { ExpectedPrompt } from '../core/expectations.ts';
import { percent } from '../core/figures.ts';
import { FLOATS, type PrecisionName, precisionNamed } from '../core/precision.ts';
import type { Session } from '../core/session.ts';
import type { Verification, VerificationFigures } from '../core/verification.ts';
import { scorePair } from './log-softmax.ts';
import { rowOf } from './perplexity.ts';

/** A prompt with its logits in memory. */
export interface PromptLogits extends Pick<ExpectedPrompt, 'name' | 'ids' | 'positions' | 'tokens'> {
  readonly prefill: Float32Array;
  readonly decode: Float32Array;
}

/** Sums and extremes over rows of logits. Two sets of rows can be added. */
export interface RowTally {
  readonly rows: number;
  /** Largest |difference| and largest |logit| of the reference. */
  readonly difference: number;
  readonly largest: number;
  /** Sum of KL(reference || model), in nats. */
  readonly kl: number;
  /** Rows with the reference's likeliest token. */
  readonly agreed: number;
  /** In the other rows, the largest lead that the reference gives its own token over the model's. */
  readonly lead: number;
}

export interface Tallies {
  /** Positions of prompts, which are fed in calls of some hundred tokens. */
  readonly prefill: RowTally;
  /** Tokens decoded one a call after the prompts. */
  readonly decode: RowTally;
}

/** Tokens in a call of a prompt. Several calls keep logits of large vocabularies small, and use the cache. */
const CHUNK_TOKENS = 256;

export const NO_ROWS: RowTally = { rows: 0, difference: 0, largest: 0, kl: 0, agreed: 0, lead: 0 };

export function addRows(a: RowTally, b: RowTally): RowTally {
  return {
    rows: a.rows + b.rows,
    difference: Math.max(a.difference, b.difference),
    largest: Math.max(a.largest, b.largest),
    kl: a.kl + b.kl,
    agreed: a.agreed + b.agreed,
    lead: Math.max(a.lead, b.lead),
  };
}

/**
 * Feeds a prompt in chunks, then the reference's own likeliest tokens, so that one early difference does not spoil all
 * later rows. Throws `mismatch` for another vocabulary, `non-finite` if the model's logits are NaN or infinite.
 */
export async function tallyPrompt(session: Session, prompt: PromptLogits, signal?: AbortSignal): Promise<Tallies> {
  const { name, ids, positions, tokens } = prompt;
  let [prefill, decode] = [NO_ROWS, NO_ROWS];
  let cache = session.emptyCache();
  const feed = async (fed: readonly number[], logits: 'all' | 'last') => {
    throwIfAborted(signal);
    const step = await session.step(fed, cache, { logits });
    cache = step.cache;
    return step;
  };
  let next = 0;
  for (let at = 0; at < ids.length; at += CHUNK_TOKENS) {
    const { logits, rows, vocab } = await feed(ids.slice(at, at + CHUNK_TOKENS), 'all');
    checkVocabulary(vocab, prompt.prefill.length / positions.length);
    for (; next < positions.length && positions[next] < at + rows; next++) {
      const [wanted, got] = [rowOf(prompt.prefill, next, vocab), rowOf(logits, positions[next] - at, vocab)];
      prefill = addRows(prefill, tallyRow(wanted, got, `position ${positions[next]} of the prompt "${name}"`));
    }
  }
  for (const [index, token] of tokens.entries()) {
    const { logits, vocab } = await feed([token], 'last');
    const where = `token ${index + 1} after the prompt "${name}"`;
    decode = addRows(decode, tallyRow(rowOf(prompt.decode, index, vocab), logits, where));
  }
  return { prefill, decode };
}

function tallyRow(wanted: Float32Array, got: Float32Array, where: string): RowTally {
  let difference = 0;
  let largest = 0;
  for (let i = 0; i < wanted.length; i++) {
    // NaN or infinity is an error, not a large difference.
    if (!Number.isFinite(got[i]))
      throw new LacunaError('non-finite', `The model gives a logit of ${got[i]} at ${where}`);
    difference = Math.max(difference, Math.abs(wanted[i] - got[i]));
    largest = Math.max(largest, Math.abs(wanted[i]));
  }
  const { kl, baseline, model } = scorePair(wanted, got, 0);
  const lead = wanted[baseline.top] - wanted[model.top];
  return { rows: 1, difference, largest, kl, agreed: baseline.top === model.top ? 1 : 0, lead };
}

function checkVocabulary(got: number, wanted: number): void {
  if (got === wanted) return;
  throw new LacunaError('mismatch', `The model has a vocabulary of ${got}, what it is compared with one of ${wanted}`, {
    hint: 'Compare it with the checkpoint that it was made from.',
  });
}

type Limits = Verification['limits'];

/** How far a model may be from its checkpoint. `isBfloat16`: the checkpoint's matrices are bfloat16, so storing them as bfloat16 rounds nothing. */
export function limitsOf(precision: PrecisionName, isBfloat16: boolean): Limits {
  const isExact = precisionNamed(precision).linear.kind === 'widened' && isBfloat16;
  return precisionNamed(isExact ? FLOATS : precision).limits;
}

export type Judgement = Pick<Verification, 'all' | 'prefill' | 'decode' | 'limits' | 'passed' | 'failures'>;

/** The verdict on a model that cannot be measured. */
export function failed(reason: string, limits: Limits): Judgement {
  return { all: null, prefill: null, decode: null, limits, passed: false, failures: [reason] };
}

/** The verdict on all rows of all prompts. */
export function judge({ prefill, decode }: Tallies, limits: Limits): Judgement {
  const total = addRows(prefill, decode);
  const all = figuresOf(total);
  const failures = broken(all, total, limits);
  const passed = failures.length === 0;
  return { all, prefill: figuresOf(prefill), decode: figuresOf(decode), limits, passed, failures };
}

function figuresOf({ rows, difference, largest, kl, agreed }: RowTally): VerificationFigures {
  const count = Math.max(1, rows);
  return {
    rows,
    // A model of zeros gives nothing to divide by.
    relativeDifference: largest === 0 ? difference : difference / largest,
    meanKl: kl / count,
    top1Agreement: agreed / count,
  };
}

function broken(all: VerificationFigures, { lead, largest }: RowTally, limits: Limits): string[] {
  const { relativeDifference, meanKl, top1Agreement } = limits;
  const failures: string[] = [];
  if (relativeDifference !== undefined && !(all.relativeDifference <= relativeDifference))
    failures.push(
      `Logits differ by ${shown(all.relativeDifference)} of the largest, more than ${shown(relativeDifference)}.`,
    );
  if (meanKl !== undefined && !(all.meanKl <= meanKl))
    failures.push(`The mean KL divergence is ${shown(all.meanKl)} nats, more than ${shown(meanKl)}.`);
  // Two logits that are each off by the limit may change places. Such a tie counts as the same answer.
  const isTie = relativeDifference !== undefined && lead <= 2 * relativeDifference * largest;
  if (top1Agreement !== undefined && !(all.top1Agreement >= top1Agreement) && !(top1Agreement === 1 && isTie))
    failures.push(
      `The likeliest token is the same at ${percent(all.top1Agreement)} of the rows, fewer than ${percent(top1Agreement)}.`,
    );
  return failures;
}

function shown(figure: number): string {
  return figure.toPrecision(2);
}
