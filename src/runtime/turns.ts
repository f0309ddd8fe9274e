/** Generations of one session, one after the other: in the native core it has one cache. */
import { once } from 'node:events';
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import type { Session } from '../core/session.ts';
import { type GenerateOptions, generateRows, type RowToken, type StopReason } from './generate.ts';

export interface Turns {
  /** As `generateRows`, once the earlier generations have ended. */
  rows(
    prompts: readonly (readonly number[])[],
    options: GenerateOptions,
  ): AsyncGenerator<RowToken, readonly StopReason[], void>;
  /** Ends all generations, which then throw `interrupted`, and closes the session. */
  close(): Promise<void>;
}

export function takeTurns(session: Session): Turns {
  const closing = new AbortController();
  /** Resolves when the last generation so far has ended. */
  let last: Promise<unknown> = Promise.resolve();
  /** The token that is being made. Until it is done, the session is in use. */
  let pull: Promise<unknown> = Promise.resolve();
  return {
    async *rows(prompts, options) {
      const { signal, release } = eitherOf(closing.signal, options.signal);
      const before = last;
      let leave = () => {};
      const ended = new Promise<void>((resolve) => (leave = resolve));
      last = before.then(() => ended);
      const tokens = generateRows(session, prompts, { ...options, signal });
      const next = () => {
        const found = tokens.next();
        pull = found.catch(() => {});
        return found;
      };
      try {
        throwIfAborted(signal);
        await Promise.race([before, once(signal, 'abort')]);
        throwIfAborted(signal);
        let found = await next();
        for (; !found.done; found = await next()) yield found.value;
        return found.value;
      } catch (error) {
        throw closing.signal.aborted ? closing.signal.reason : error;
      } finally {
        // When the reader stops, the writing stops.
        await tokens.return([]).finally(() => {
          release();
          leave();
        });
      }
    },
    async close() {
      closing.abort(new LacunaError('interrupted', 'The model was closed'));
      await pull;
      await session.close();
    },
  };
}

/** As AbortSignal.any, which in Node 20 keeps memory for every signal that it made, as long as the session lives. */
function eitherOf(...signals: readonly (AbortSignal | undefined)[]): { signal: AbortSignal; release: () => void } {
  const either = new AbortController();
  const abort = ({ target }: Event) => either.abort((target as AbortSignal).reason);
  for (const signal of signals) {
    if (signal?.aborted) either.abort(signal.reason);
    signal?.addEventListener('abort', abort);
  }
  const release = () => {
    for (const signal of signals) signal?.removeEventListener('abort', abort);
  };
  return { signal: either.signal, release };
}
