/** What another implementation computes from a checkpoint, for comparison with a converted model. */
import type { TensorExpr } from './tensor.ts';

/** A prompt read at once, then continued by the likeliest token, one token a call. */
export interface ExpectedPrompt {
  readonly name: string;
  /** The text of the ids; null where they come from no text. */
  readonly text: string | null;
  /** The ids that the reference's tokenizer gives for `text`; null where it was not asked. */
  readonly encoded: readonly number[] | null;
  readonly ids: readonly number[];
  /** Positions of the prompt that `prefillLogits` holds logits for, ascending, up to the last of the prompt. */
  readonly positions: readonly number[];
  /** float32 [positions, vocabulary] */
  readonly prefillLogits: TensorExpr;
  /** Each is the likeliest after all before it. */
  readonly tokens: readonly number[];
  /** float32 [tokens, vocabulary]: after each of `tokens`. */
  readonly decodeLogits: TensorExpr;
}

export interface Expectations {
  /** Of the checkpoint that they were computed from. */
  readonly fingerprint: string;
  /** Versions of the programs that computed them, by name. */
  readonly tools: Readonly<Record<string, string>>;
  readonly prompts: readonly ExpectedPrompt[];
}
