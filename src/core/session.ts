/** What evaluation and generation know of a model that runs with a cache. `src/runtime` provides it. */
import type { RuntimeTensor } from './runner.ts';

/**
 * Keys and values of the tokens so far of one row, by the graph's input names. A step makes a new one and leaves the
 * old as it was, so one cache can be continued several times, and by another session of the same architecture.
 */
export interface KvCache {
  /** Tokens it holds. */
  readonly length: number;
  readonly tensors: Readonly<Record<string, RuntimeTensor>>;
}

export interface StepOptions {
  /** Logits of all tokens fed, or of the last one only (the default). */
  readonly logits?: 'all' | 'last';
  /** Ends a long step with an `interrupted` error, where the session feeds it in chunks. */
  readonly signal?: AbortSignal;
}

export interface Step {
  /** [rows, vocab]: rows is 1 for `last`, else the number of tokens fed. */
  readonly logits: Float32Array;
  readonly rows: number;
  readonly vocab: number;
  readonly cache: KvCache;
  /** Outputs beside logits and cache, as `layers.3.kept`. */
  readonly extras: Readonly<Record<string, RuntimeTensor>>;
}

export interface Session {
  /** Names of the outputs that `extras` holds. */
  readonly extraOutputs: readonly string[];
  emptyCache(): KvCache;
  /** Feeds the next tokens of one row after those that the cache holds. */
  step(tokens: ArrayLike<number>, cache: KvCache, options?: StepOptions): Promise<Step>;
  /** A step for each token, and what the last one gave; there where it is faster than calling `step`. */
  decode?(tokens: ArrayLike<number>, cache: KvCache): Promise<Step>;
  close(): Promise<void>;
}
