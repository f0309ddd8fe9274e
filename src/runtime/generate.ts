/** Continues a text token by token. */
import { invalidArgument, LacunaError, throwIfAborted } from '../core/errors.ts';
import type { SamplingOptions } from '../core/sampling.ts';
import type { Session, Step } from '../core/session.ts';
import { createSampler } from './sample.ts';

/** Tokens of a prompt that are fed at a time: logits (4 bytes for each word) stay small. */
export const PREFILL_TOKENS = 512;

export interface GenerateOptions extends SamplingOptions {
  readonly maxTokens: number;
  /** Tokens that end the text. They are not part of it. */
  readonly eosTokenIds: readonly number[];
  /** Tokens that the model can attend to, prompt included; no limit if absent. */
  readonly contextLength?: number;
  readonly signal?: AbortSignal;
}

/** A token of one of several texts. */
export interface RowToken {
  /** Index of its prompt. */
  readonly row: number;
  readonly token: number;
  /** When it was found, by `performance.now()`. It may have waited to be read. */
  readonly at: number;
}

/** A session that continues texts by itself, one token of each at a time, sampling included. */
export interface GeneratingSession extends Session {
  /** As the function `generateRows`, for checked options. Caches that were given out can no longer be continued. */
  generateRows(
    prompts: readonly (readonly number[])[],
    options: GenerateOptions,
  ): AsyncGenerator<RowToken, readonly StopReason[]>;
}

/** Why a text ended: an end token, `maxTokens`, or a full context. */
export type StopReason = 'eos' | 'length' | 'context';

/**
 * Continues several texts and returns why each stopped. Tokens of a row come in order; those of different rows come in
 * any order. Row i uses the seed plus i, and equals its prompt's text alone with that seed. A session that decodes rows
 * together reads its weights once for all of them. Other sessions make one text after the other. Throws `usage` for an
 * empty prompt or one longer than the context, `interrupted` once `signal` is aborted.
 *
 * @example
 * for await (const { row, token } of generateRows(session, prompts, { maxTokens: 20, eosTokenIds: [2] }))
 *   write(row, decoders[row].push(token));
 */
export async function* generateRows(
  session: Session,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
): AsyncGenerator<RowToken, readonly StopReason[]> {
  for (const prompt of prompts) checkPrompt(prompt, options);
  if ('generateRows' in session) return yield* (session as GeneratingSession).generateRows(prompts, options);
  const reasons: StopReason[] = [];
  for (const [row, prompt] of prompts.entries()) {
    const tokens = generateBySteps(session, prompt, { ...options, seed: (options.seed ?? 0) + row });
    let next = await tokens.next();
    for (; !next.done; next = await tokens.next()) yield { row, token: next.value, at: performance.now() };
    reasons.push(next.value);
  }
  return reasons;
}

async function* generateBySteps(
  session: Session,
  prompt: readonly number[],
  options: GenerateOptions,
): AsyncGenerator<number, StopReason> {
  const { maxTokens, eosTokenIds, contextLength = Infinity, signal } = options;
  const sample = createSampler(options);
  const seen = [...prompt];
  if (maxTokens === 0) return 'length';
  let step = await prefill(session, prompt, signal);
  for (let made = 1; ; made++) {
    const token = sample(step.logits, seen);
    if (eosTokenIds.includes(token)) return 'eos';
    yield token;
    seen.push(token);
    if (made === maxTokens) return 'length';
    // The last token of a full context is given out, but there is no room to feed it.
    if (seen.length > contextLength) return 'context';
    throwIfAborted(signal);
    step = await session.step([token], step.cache);
  }
}

/** Feeds `tokens` in chunks. Returns the step of the last chunk, with the logits of the last token. */
async function prefill(session: Session, tokens: readonly number[], signal: AbortSignal | undefined): Promise<Step> {
  const size = evenChunk(tokens.length, PREFILL_TOKENS);
  throwIfAborted(signal);
  let step = await session.step(tokens.slice(0, size), session.emptyCache(), { signal });
  for (let start = size; start < tokens.length; start += size) {
    throwIfAborted(signal);
    step = await session.step(tokens.slice(start, start + size), step.cache, { signal });
  }
  return step;
}

function checkPrompt(prompt: readonly number[], { contextLength = Infinity }: GenerateOptions): void {
  if (prompt.length === 0) throw invalidArgument('prompt', 'at least one token', 'none');
  if (prompt.length > contextLength)
    throw new LacunaError(
      'usage',
      `Expected a prompt of at most ${contextLength} tokens, the model's context, but it has ${prompt.length}`,
      { hint: 'Shorten the prompt.' },
    );
}

/** Tokens a chunk, at most `most`. Chunks are even, because a last chunk of one token would not run dense. */
export function evenChunk(tokens: number, most: number): number {
  return Math.ceil(tokens / Math.max(1, Math.ceil(tokens / most)));
}
