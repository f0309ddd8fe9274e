/** A decoder of the native core, as its addon gives it out (native/binding/node_decoder.cc). */
import type { SamplingOptions } from '../core/sampling.ts';
import type { StopReason } from './generate.ts';

export interface NativeDecoder {
  /** Tokens in the first row's cache. */
  readonly length: number;
  readonly vocab: number;
  /**
   * Appends tokens to the first row. With `oneByOne` each token is a step of its own, as in greedy decoding. `logits`
   * gets all logits of the last token, or of every token if it has room for them (not with `oneByOne`).
   */
  feed(tokens: BigInt64Array, logits?: Float32Array, oneByOne?: boolean): Promise<void>;
  /** `onToken` also gets the milliseconds since the start. */
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
  /** Two words for each prompt. */
  readonly seeds: Uint32Array;
  readonly eos: BigInt64Array;
  readonly maxTokens: number;
  readonly contextLength?: number;
  readonly prefillTokens: number;
}
