/** Requests to the Hub: repeated where that may help, and refused in words that say what to do. */

import { LacunaError, throwIfAborted } from '../../src/core/errors.ts';
import type { HubOptions } from '../../src/core/hub.ts';
import type { HubReference } from './reference.ts';

/** Attempts in a row without a byte of progress. With the delay doubled each time, the last comes after 15 seconds. */
export const ATTEMPTS = 5;

const DEFAULT_RETRY_DELAY_MS = 1000;

export interface Requester {
  readonly reference: HubReference;
  readonly hub: HubOptions;
  readonly signal: AbortSignal | undefined;
}

/** A failure that may pass: the connection broke, or the server is overloaded. */
export class PassingFailure extends Error {
  override readonly name = 'PassingFailure';
}

/** One request; throws `PassingFailure`, or a `LacunaError` when repeating it would not help. */
export async function request(
  address: string,
  { reference, hub, signal }: Requester,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  const authorization: Record<string, string> = hub.token === undefined ? {} : { authorization: `Bearer ${hub.token}` };
  const options = { headers: { ...headers, ...authorization }, signal: signal ?? null };
  const response = await fetch(address, options).catch((cause: unknown) => {
    throwIfAborted(signal);
    throw passing(`${hub.endpoint} cannot be reached`, cause);
  });
  if (response.ok) return response;
  await response.body?.cancel();
  if (response.status === 429 || response.status >= 500)
    throw passing(`${hub.endpoint} answered ${response.status} ${response.statusText}`);
  throw refusal(response, reference, hub);
}

export function passing(message: string, cause?: unknown): PassingFailure {
  // What fetch throws says only "fetch failed"; the reason is its cause.
  const reason = cause instanceof Error ? (cause.cause instanceof Error ? cause.cause : cause) : undefined;
  return new PassingFailure(reason === undefined ? message : `${message}: ${reason.message}`, { cause });
}

/** The Hub says in a header what is the matter, and answers 401 also for what is not there when no token is sent. */
function refusal(response: Response, { id, revision }: HubReference, { endpoint, token }: HubOptions): LacunaError {
  const { status, statusText } = response;
  const reason = response.headers.get('x-error-code');
  const page = `${endpoint}/${id}`;
  if (reason === 'RevisionNotFound')
    return new LacunaError('not-found', `${page} has no revision "${revision}"`, { hint: `See ${page}/tree/main` });
  if (reason === 'GatedRepo' || status === 403)
    return new LacunaError('io', `${page} is gated: its terms must be accepted first (${status})`, {
      hint:
        token === undefined
          ? `Accept them at ${page}, then set HF_TOKEN to a token of yours.`
          : `Accept them at ${page} as the owner of the token in HF_TOKEN, which must be allowed to read gated models.`,
    });
  if (status === 401 && token !== undefined && reason !== 'RepoNotFound')
    return new LacunaError('io', `${endpoint} does not accept the token in HF_TOKEN (401)`, {
      hint: `Make a new one at ${endpoint}/settings/tokens, or unset HF_TOKEN.`,
    });
  if (status === 401 || status === 404)
    return new LacunaError('not-found', `There is no folder ${id} here and no model ${page}, or it is private`, {
      hint: 'Check the name; for a private model set HF_TOKEN to a token that may read it.',
    });
  return new LacunaError('io', `${endpoint} answered ${status} ${statusText}`, { hint: 'Try again later.' });
}

/** Runs `attempt` until it succeeds, or has failed passingly `ATTEMPTS` times since `attempt` last called `progressed`. */
export async function repeatedly<T>(
  { hub, signal }: Requester,
  attempt: (progressed: () => void) => Promise<T>,
  giveUp: (failure: PassingFailure) => LacunaError,
): Promise<T> {
  let failures = 0;
  for (;;) {
    try {
      return await attempt(() => {
        failures = 0;
      });
    } catch (error) {
      throwIfAborted(signal);
      if (!(error instanceof PassingFailure)) throw error;
      failures += 1;
      if (failures >= ATTEMPTS) throw giveUp(error);
      await pause((hub.retryDelayMs ?? DEFAULT_RETRY_DELAY_MS) * 2 ** (failures - 1), signal);
    }
  }
}

async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
  throwIfAborted(signal);
}
