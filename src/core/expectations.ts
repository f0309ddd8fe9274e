/** What another implementation computes from a checkpoint: what a converted model is held against. */
import type { TensorExpr } from './tensor.ts';

/** A prompt read at once and continued by the likeliest token, one token a call. */
export interface ExpectedPrompt {
  readonly name: string;
  /** What the ids were made from; null where they are no text's. */
  readonly text: string | null;
  /** The ids that the reference's tokenizer makes of `text`; null where it was not asked. */
  readonly encoded: readonly number[] | null;
  readonly ids: readonly number[];
  /** Positions of the prompt whose logits `prefillLogits` holds, ascending; the last one is the prompt's. */
  readonly positions: readonly number[];
  /** float32 [positions, vocabulary] */
  readonly prefillLogits: TensorExpr;
  /** Each the likeliest after all before it. */
  readonly tokens: readonly number[];
  /** float32 [tokens, vocabulary]: after each of `tokens`. */
  readonly decodeLogits: TensorExpr;
}

export interface Expectations {
  /** Of the checkpoint they were computed from. */
  readonly fingerprint: string;
  /** Versions of what computed them, by name. */
  readonly tools: Readonly<Record<string, string>>;
  readonly prompts: readonly ExpectedPrompt[];
}
