/** A session of the native core: its cache stays where it is and grows in place, and texts are continued without JavaScript. */
import type { CacheUse } from '../core/cache-format.ts';
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import type { KvCache, Step, StepOptions } from '../core/session.ts';
import {
  evenChunk,
  type GenerateOptions,
  type GeneratingSession,
  PREFILL_TOKENS,
  type RowToken,
  type StopReason,
} from './generate.ts';
import {
  attempt,
  loadAddon,
  type NativeDecoder,
  type NativeFiles,
  type NativeGenerateOptions,
  runtimeLibrary,
} from './native-addon.ts';
import { openUnlessAborted, type SessionOptions } from './ort-session.ts';
import { seedWords } from './sample.ts';
import { findModel, tokenIds } from './session.ts';

/** How the cache is kept and read. Nothing here checks that the model's operators can do that. */
export interface NativeSessionOptions extends SessionOptions, CacheUse {}

/**
 * Opens a model folder by the native core. It keeps the promises of `openSession` with three exceptions: there is one
 * cache, so continuing an older one ends those made after it; logits of the last token are valid until the next step;
 * there are no further outputs. Throws `runtime` when the addon, the runtime or the model cannot be loaded.
 */
export async function openNativeSession(
  folder: string,
  native: NativeFiles,
  { threads, signal, cache, attended }: NativeSessionOptions = {},
): Promise<GeneratingSession> {
  const [runtime, model] = await Promise.all([runtimeLibrary(), findModel(folder)]);
  const open = () =>
    attempt('open the model natively', async () =>
      loadAddon(native).openDecoder({ runtime, model, operators: native.operators, threads, cache, attended }),
    );
  return sessionOf(await openUnlessAborted(signal, open, (late) => late.dispose()));
}

function sessionOf(decoder: NativeDecoder): GeneratingSession {
  const { vocab } = decoder;
  const logits = new Float32Array(vocab);
  const empty: KvCache = { length: 0, tensors: {} };
  // The steps that made the one cache. The last of them is what it holds.
  let lineage = [empty];
  const feed = async (
    tokens: ArrayLike<number>,
    cache: KvCache,
    { oneByOne = false, logits: wanted = 'last', signal }: StepOptions & { readonly oneByOne?: boolean } = {},
  ): Promise<Step> => {
    const place = lineage.lastIndexOf(cache);
    if (place < 0)
      throw new LacunaError('mismatch', 'This cache is from another session, or an older one was continued since');
    const ids = tokenIds(tokens, vocab);
    const next = { length: cache.length + tokens.length, tensors: {} };
    const all = wanted === 'all' ? new Float32Array(ids.length * vocab) : undefined;
    await attempt('run the model natively', async () => {
      if (decoder.length > cache.length) decoder.rewind(cache.length);
      // From here on, the later caches are gone, whether or not the step succeeds.
      lineage = lineage.slice(0, place + 1);
      const size = evenChunk(ids.length, chunkTokens(vocab));
      for (let at = 0; at < ids.length; at += size) {
        throwIfAborted(signal);
        const end = Math.min(at + size, ids.length);
        const read = all?.subarray(at * vocab, end * vocab) ?? (end === ids.length ? logits : undefined);
        await decoder.feed(ids.slice(at, end), read, oneByOne);
      }
    });
    lineage.push(next);
    return { logits: all ?? logits, rows: all === undefined ? 1 : ids.length, vocab, cache: next, extras: {} };
  };
  return {
    extraOutputs: [],
    emptyCache: () => empty,
    step: feed,
    decode: (tokens, cache) => feed(tokens, cache, { oneByOne: true }),
    async *generateRows(prompts, options) {
      const request = requestOf(prompts, options, vocab);
      lineage = [empty];
      return yield* stream(decoder, request, options.signal);
    },
    close: () => decoder.dispose(),
  };
}

/** Logits of a prompt's tokens that exist at once: 128 MiB. 512 tokens of 262,144 words make half a gigabyte. */
const MOST_LOGITS = 2 ** 25;

/** Tokens fed at a time. The working memory of a call stays small, and it can be stopped between two calls. */
function chunkTokens(vocab: number): number {
  return Math.min(PREFILL_TOKENS, Math.max(1, Math.floor(MOST_LOGITS / vocab)));
}

function requestOf(
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
  vocab: number,
): NativeGenerateOptions {
  const { eosTokenIds, seed = 0, signal: _, ...rest } = options;
  return {
    ...rest,
    prompts: prompts.map((prompt) => tokenIds(prompt, vocab)),
    seeds: Uint32Array.from(prompts.flatMap((_, row) => seedWords(seed + row))),
    eos: BigInt64Array.from(eosTokenIds, BigInt),
    prefillTokens: chunkTokens(vocab),
  };
}

/** Tokens as the decoder's thread finds them. When the reader stops or aborts, the thread stops. */
async function* stream(
  decoder: NativeDecoder,
  request: NativeGenerateOptions,
  signal: AbortSignal | undefined,
): AsyncGenerator<RowToken, readonly StopReason[]> {
  throwIfAborted(signal);
  const waiting: RowToken[] = [];
  const started = performance.now();
  let notify = () => {};
  let isRunning = true;
  const reasons = attempt('run the model natively', () =>
    decoder.generate(request, (row, token, milliseconds) => {
      waiting.push({ row, token, at: started + milliseconds });
      notify();
    }),
  ).finally(() => {
    isRunning = false;
    notify();
  });
  // It is awaited below. Until then its failure is not unhandled.
  reasons.catch(() => {});
  const cancel = () => decoder.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    while (isRunning || waiting.length > 0) {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        throwIfAborted(signal);
        yield next;
      }
      if (isRunning) await new Promise<void>((resolve) => (notify = resolve));
    }
    throwIfAborted(signal);
    return await reasons;
  } finally {
    signal?.removeEventListener('abort', cancel);
    if (isRunning) {
      decoder.cancel();
      await reasons.catch(() => {});
    }
  }
}
