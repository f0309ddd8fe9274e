/** What a user asks of a plan, checked. */
import { invalidArgument } from '../core/errors.ts';
import type { Host, Plan } from '../core/plan.ts';

export interface FfnSkipOptions {
  readonly preset: 'ffn-skip';
  /** Share of all FFN blocks (tokens times layers) to skip; 0.25 when absent. */
  readonly targetSkipped?: number;
  /** First layer that may be tested or skipped, and the first one after them; found from the profile when absent. */
  readonly coldStart?: number;
  readonly coldEnd?: number;
  /** Cosine from which blocks are skipped, instead of solving for the target. */
  readonly threshold?: number;
  /** Blocks skipped after one that passed the test; the fewest that reach the target when absent. */
  readonly runLength?: number;
  readonly warmUpTokens?: number;
  /** Whether the test is made again after a run, in the same token; true when absent. */
  readonly reArm?: boolean;
  readonly prefill?: Plan['prefill'];
  readonly host?: Host;
}

export interface TopKOptions {
  readonly preset: 'top-k';
  /** Share of FFN neurons computed; 0.5 when absent. */
  readonly density?: number;
  readonly prefill?: Plan['prefill'];
  readonly host?: Host;
}

export type PlanOptions = FfnSkipOptions | TopKOptions;

/** FFN-SkipLLM's claim: 25 to 30 % of blocks. */
export const DEFAULT_SKIPPED = 0.25;
export const DEFAULT_DENSITY = 0.5;

/** Throws `usage` for a number that is no share strictly between 0 and 1. */
export function checkShare(name: string, share: number): void {
  if (!(share > 0 && share < 1)) throw invalidArgument(name, 'a share between 0 and 1', share);
}

/** Throws `usage` unless `count`, when given, is an integer from `least` to `most`. */
export function checkCount(name: string, count: number | undefined, least: number, most: number): void {
  if (count === undefined || (Number.isInteger(count) && count >= least && count <= most)) return;
  throw invalidArgument(name, `an integer from ${least} to ${most}`, count);
}
