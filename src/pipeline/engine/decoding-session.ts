/** A session that is measured as it decodes: after a prompt, token by token. */
import type { KvCache, Session, Step, StepOptions } from '../../core/session.ts';

/**
 * Feeds a prompt in one call, and what follows it one token a call. A session that attends to few tokens does so in calls of
 * one token, so these give what decoding gives.
 */
export function asDecoded(session: Session): Session {
  const step = async (tokens: ArrayLike<number>, cache: KvCache, options: StepOptions = {}): Promise<Step> => {
    if (cache.length === 0 || tokens.length <= 1) return session.step(tokens, cache, options);
    const rows = options.logits === 'all' ? tokens.length : 1;
    let last = await session.step([tokens[0]], cache, options);
    const logits = new Float32Array(rows * last.vocab);
    for (let token = 0; token < tokens.length; token++) {
      if (token > 0) last = await session.step([tokens[token]], last.cache, options);
      logits.set(last.logits.subarray(0, last.vocab), (rows === 1 ? 0 : token) * last.vocab);
    }
    return { ...last, logits, rows };
  };
  return { ...session, step };
}
