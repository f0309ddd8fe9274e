/** Compares a converted model with what another implementation computes from its checkpoint. */
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import type { ExpectedPrompt } from '../core/expectations.ts';
import type { KvCache, Session } from '../core/session.ts';
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
  const { cache, rows } = await tallyPrefill(session, prompt, signal);
  return { prefill: rows, decode: await tallyDecoding(session, prompt, cache, signal) };
}

async function tallyPrefill(
  session: Session,
  { ids, positions, prefill, name }: PromptLogits,
  signal: AbortSignal | undefined,
): Promise<{ readonly cache: KvCache; readonly rows: RowTally }> {
  let cache = session.emptyCache();
  let rows = NO_ROWS;
  let next = 0;
  for (let at = 0; at < ids.length; at += CHUNK_TOKENS) {
    throwIfAborted(signal);
    const step = await session.step(ids.slice(at, at + CHUNK_TOKENS), cache, { logits: 'all' });
    cache = step.cache;
    checkVocabulary(step.vocab, prefill.length / positions.length);
    for (; next < positions.length && positions[next] < at + step.rows; next++) {
      const [wanted, got] = [rowOf(prefill, next, step.vocab), rowOf(step.logits, positions[next] - at, step.vocab)];
      rows = addRows(rows, tallyRow(wanted, got, `position ${positions[next]} of the prompt "${name}"`));
    }
  }
  return { cache, rows };
}

async function tallyDecoding(
  session: Session,
  { tokens, decode, name }: PromptLogits,
  start: KvCache,
  signal: AbortSignal | undefined,
): Promise<RowTally> {
  let cache = start;
  let rows = NO_ROWS;
  for (const [index, token] of tokens.entries()) {
    throwIfAborted(signal);
    const step = await session.step([token], cache);
    cache = step.cache;
    const where = `token ${index + 1} after the prompt "${name}"`;
    rows = addRows(rows, tallyRow(rowOf(decode, index, step.vocab), step.logits, where));
  }
  return rows;
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
