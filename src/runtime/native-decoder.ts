/** A decoder of the native core, as its addon gives it out (native/binding/node_decoder.cc). */
import type { SamplingOptions } from '../core/sampling.ts';
import type { StopReason } from './generate.ts';

export interface NativeDecoder {
  /** Tokens that the first row's cache holds. */
  readonly length: number;
  readonly vocab: number;
  /**
   * Appends tokens to the first row, each by a step of its own where `oneByOne`, as greedy decoding makes them; `logits` gets
   * all of the last one's, or those of each token where it has room for them (not `oneByOne`).
   */
  feed(tokens: BigInt64Array, logits?: Float32Array, oneByOne?: boolean): Promise<void>;
  /** `onToken` is also told the milliseconds since the beginning. */
  generate(
    options: NativeGenerateOptions,
    onToken: (row: number, token: number, milliseconds: number) => void,
  ): Promise<StopReason[]>;
  cancel(): void;
  rewind(length: number): void;
  dispose(): Promise<void>;
}

export interface NativeGenerateOptions extends Omit<SamplingOptions, 'seed'> {
  readonly prompts: readonly BigInt64Array[];
  /** Two words a prompt. */
  readonly seeds: Uint32Array;
  readonly eos: BigInt64Array;
  readonly maxTokens: number;
  readonly contextLength?: number;
  readonly prefillTokens: number;
}
