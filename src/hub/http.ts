/** Requests to the Hub: repeated where that may help, and refused in words that say what to do. */
import { setTimeout } from 'node:timers/promises';
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import type { HubOptions } from '../core/hub.ts';
import type { HubReference } from './repository.ts';

/** Attempts in a row without a byte of progress. The delay doubles each time: the last comes after 15 seconds. */
const ATTEMPTS = 5;

const DEFAULT_RETRY_DELAY_MS = 1000;

export interface Requester {
  readonly reference: HubReference;
  readonly hub: HubOptions;
  readonly signal: AbortSignal | undefined;
}

/** A failure that may pass: the connection broke, or the server is overloaded. */
class PassingFailure extends Error {
  override readonly name = 'PassingFailure';
}

export interface Answer {
  readonly status: number;
  /** Its content. A broken connection is a `PassingFailure`. Read it once. */
  readonly blocks: AsyncIterable<Uint8Array>;
}

/** Gives the answer to a request to `use`. Throws `PassingFailure`, or a `LacunaError` if repeating would not help. */
export async function request<T>(
  address: string,
  requester: Requester,
  headers: Readonly<Record<string, string>>,
  use: (answer: Answer) => Promise<T>,
): Promise<T> {
  const { reference, hub } = requester;
  const authorization: Record<string, string> = hub.token === undefined ? {} : { authorization: `Bearer ${hub.token}` };
  const watch = watchConnection(requester);
  try {
    const options = { headers: { ...headers, ...authorization }, signal: watch.signal };
    const response = await fetch(address, options).catch((error: unknown) => {
      watch.check();
      throw unreachable(hub.endpoint, error);
    });
    if (response.ok) return await use({ status: response.status, blocks: blocksOf(response, hub.endpoint, watch) });
    if (response.status === 429 || response.status >= 500)
      throw passing(`${hub.endpoint} answered ${response.status} ${response.statusText}`);
    throw refusal(response, reference, hub);
  } finally {
    watch.end();
  }
}

async function* blocksOf(
  { body }: Response,
  endpoint: string,
  watch: ReturnType<typeof watchConnection>,
): AsyncGenerator<Uint8Array> {
  try {
    if (body === null) return;
    for await (const block of body) {
      watch.came(block.length);
      yield block;
    }
  } catch (error) {
    watch.check();
    throw passing(`the connection to ${endpoint} broke`, error);
  }
}

/** A connection that brings fewer bytes than `LEAST_BYTES` in this time is given up: the server may be gone. */
const DEFAULT_STALL_MS = 30_000;

/** The slowest line brings this many bytes in time. A server that sends single bytes cannot hold us for ever. */
const LEAST_BYTES = 1024;

/** `signal` is aborted with the job, or when too few bytes came; `check` then throws the reason. */
function watchConnection({ hub, signal }: Requester) {
  const stallMs = hub.stallMs ?? DEFAULT_STALL_MS;
  const stalled = new AbortController();
  let bytes = 0;
  const timer = setInterval(() => {
    if (bytes < LEAST_BYTES) stalled.abort();
    bytes = 0;
  }, stallMs);
  return {
    signal: signal === undefined ? stalled.signal : AbortSignal.any([signal, stalled.signal]),
    came: (count: number) => {
      bytes += count;
    },
    check: () => {
      throwIfAborted(signal);
      if (stalled.signal.aborted) throw passing(`${hub.endpoint} sent nothing for ${stallMs / 1000} s`);
    },
    end: () => {
      clearInterval(timer);
      // The rest of the answer need not be sent.
      stalled.abort();
    },
  };
}

/** Faults of a connection that may pass. All other faults stay: unknown host, bad certificate, bad address. */
const PASSING_CODES: readonly unknown[] = [
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EAI_AGAIN',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETUNREACH',
  'EPIPE',
  'ETIMEDOUT',
  'UND_ERR_BODY_TIMEOUT',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_SOCKET',
];

function unreachable(endpoint: string, error: unknown): PassingFailure | LacunaError {
  const failure = passing(`${endpoint} cannot be reached`, error);
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause instanceof Error && 'code' in cause && PASSING_CODES.includes(cause.code)) return failure;
  return new LacunaError('io', failure.message, {
    hint: 'Check HF_ENDPOINT and the connection, or give the folder of a checkpoint that is here.',
    cause: error,
  });
}

export function passing(message: string, cause?: unknown): PassingFailure {
  // The message of fetch is only "fetch failed". The reason is its cause.
  const reason = cause instanceof Error ? (cause.cause instanceof Error ? cause.cause : cause) : undefined;
  return new PassingFailure(reason === undefined ? message : `${message}: ${reason.message}`, { cause });
}

/** The Hub gives its reason in a header. Without a token it also answers 401 for things that do not exist. */
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

/** Runs `attempt` until it succeeds, or has failed passingly `ATTEMPTS` times since the last call of `progressed`. */
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
      const delay = (hub.retryDelayMs ?? DEFAULT_RETRY_DELAY_MS) * 2 ** (failures - 1);
      await setTimeout(delay, undefined, { signal }).catch(() => throwIfAborted(signal));
    }
  }
}
