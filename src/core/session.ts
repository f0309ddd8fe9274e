/** What evaluation and generation know of a model that runs with a cache. `src/runtime` implements it. */
import type { RuntimeTensor } from './runner.ts';

/**
 * Keys and values of one row's tokens so far, by the graph's input names. A step makes a new cache and leaves the old
 * one unchanged. So one cache can be continued several times, also by another session of the same architecture.
 */
export interface KvCache {
  readonly length: number;
  readonly tensors: Readonly<Record<string, RuntimeTensor>>;
}

export interface StepOptions {
  /** Logits of all tokens fed, or only of the last one (the default). */
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
  /** Outputs other than logits and cache, for example `layers.3.kept`. */
  readonly extras: Readonly<Record<string, RuntimeTensor>>;
}

export interface Session {
  /** Names of the outputs that `extras` holds. */
  readonly extraOutputs: readonly string[];
  emptyCache(): KvCache;
  /** Feeds the next tokens of one row, after those in the cache. */
  step(tokens: ArrayLike<number>, cache: KvCache, options?: StepOptions): Promise<Step>;
  /** One step for each token, and the result of the last. Present where it is faster than calling `step`. */
  decode?(tokens: ArrayLike<number>, cache: KvCache): Promise<Step>;
  close(): Promise<void>;
}
