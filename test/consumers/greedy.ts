/** What our own session generates, and how far another host may be from it. */
import { expect } from 'vitest';
import { openSession } from '../../src/runtime/index.ts';
import { argmax } from '../../src/runtime/sample.ts';

/**
 * Largest difference of a logit that rounding explains, over the largest logit.
 * - `fp32`: 30 layers of float32 sums in another order measure 3e-6 to 4e-6; five times that.
 * - `sparse`: a neuron whose score lies within rounding of the threshold may be kept here and left out there. It is one of
 *   those that add least: of 384 in a block, whose sum is about a tenth of the stream, 1/384 · 1/10 and less; four such.
 * - `fp16`: every value is rounded by up to 2⁻¹¹ of itself, the 60 blocks of SmolLM2 add up √60 · 2⁻¹¹ = 3.8e-3; twice that.
 * - `int8`, `int4`: kernels round activations to 8 bits a block of 32 or do not (native ones do, as WebAssembly's need not). With
 *   a block's largest value at 2.5 times its spread, that is 2.5 / 127 / √12 = 0.6 % a product, and √24 times that for 24 blocks.
 */
export const TOLERANCE = { fp32: 2e-5, sparse: 1e-3, fp16: 8e-3, int8: 3e-2, int4: 3e-2 } as const;

export interface Greedy {
  readonly promptIds: readonly number[];
  readonly tokens: readonly number[];
  /** Of each token, the logits that it was chosen from. */
  readonly logits: readonly Float32Array[];
}

/** The likeliest token `count` times over, end tokens like any other. */
export async function greedy(folder: string, promptIds: readonly number[], count: number): Promise<Greedy> {
  const session = await openSession(folder, { threads: 1 });
  const tokens: number[] = [];
  const logits: Float32Array[] = [];
  let step = await session.step(promptIds, session.emptyCache());
  while (tokens.length < count) {
    const token = argmax(step.logits);
    tokens.push(token);
    logits.push(step.logits.slice());
    step = await session.step([token], step.cache);
  }
  await session.close();
  return { promptIds, tokens, logits };
}

/**
 * Holds tokens, and logits where a host gives them, against ours. The texts may part only where our token leads by less than
 * twice the tolerance; what follows is not compared, for it follows from another text.
 */
export function expectSame(
  theirs: { readonly tokens: readonly number[]; readonly logits?: readonly ArrayLike<number>[] },
  ours: Greedy,
  tolerance: number,
): void {
  expect(theirs.tokens).toHaveLength(ours.tokens.length);
  const parting = ours.tokens.findIndex((token, at) => token !== theirs.tokens[at]);
  if (parting >= 0) {
    expect(lead(ours.logits[parting]), `token ${parting} is another`).toBeLessThan(2 * tolerance);
    // A host that is wrong agrees by chance; one that rounds otherwise, for a while.
    expect(parting).toBeGreaterThanOrEqual(8);
  }
  const compared = parting < 0 ? ours.tokens.length : parting + 1;
  for (const [at, logits] of (theirs.logits ?? []).slice(0, compared).entries())
    expect(largestDifference(logits, ours.logits[at]), `logits of token ${at}`).toBeLessThan(tolerance);
}

/** Relative to the largest logit, as the tolerances are. */
function largestDifference(theirs: ArrayLike<number>, ours: Float32Array): number {
  expect(theirs).toHaveLength(ours.length);
  const largest = Array.from(theirs).reduce((sofar, logit, id) => Math.max(sofar, Math.abs(logit - ours[id])), 0);
  return largest / largestLogit(ours);
}

function lead(logits: Float32Array): number {
  const [second, first] = logits.toSorted().slice(-2);
  return (first - second) / largestLogit(logits);
}

function largestLogit(logits: Float32Array): number {
  return logits.reduce((sofar, logit) => Math.max(sofar, Math.abs(logit)), 0);
}
