/**
 * Picks the next token from logits: greedy, or drawn after repetition penalty, temperature, top-k, top-p and min-p, in
 * that order. native/binding/sampler.cc does the same bit for bit, so a seed gives the same text in both.
 */
import { LacunaError } from '../core/errors.ts';
import type { SamplingOptions } from '../core/sampling.ts';
import { exponential } from './exponential.ts';

/** `seen` are the tokens so far, prompt included; only the repetition penalty looks at them. */
export type Sampler = (logits: Float32Array, seen: readonly number[]) => number;

/** A sampler holds the state of its random numbers: one for each text. */
export function createSampler(options: SamplingOptions = {}): Sampler {
  const { temperature = 0, topK, topP = 1, minP = 0, repetitionPenalty = 1, seed = 0 } = options;
  const chosen = { temperature, topK, topP, minP };
  const random = createRandom(seed);
  return (logits, seen) => {
    const penalised = repetitionPenalty === 1 ? logits : penalise(logits, seen, repetitionPenalty);
    const likeliest = argmax(penalised);
    checkFinite(penalised, penalised[likeliest]);
    if (temperature === 0) return likeliest;
    return draw(keep(candidatesOf(penalised, penalised[likeliest], chosen), chosen), random());
  };
}

type Narrowing = Required<Pick<SamplingOptions, 'temperature' | 'topP' | 'minP'>> & Pick<SamplingOptions, 'topK'>;

/** The two words that start the random numbers, the lower one first. */
export function seedWords(seed: number): readonly [number, number] {
  return [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];
}

/** A draw from something that is not a distribution would mean nothing. */
function checkFinite(logits: Float32Array, top: number): void {
  let isSound = Number.isFinite(top);
  // Written so that NaN fails too.
  for (const logit of logits) if (!(logit <= top)) isSound = false;
  if (!isSound) throw new LacunaError('non-finite', "The model's logits are not finite");
}

/** The index of the largest value; the first of equals. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

function penalise(logits: Float32Array, seen: readonly number[], penalty: number): Float32Array {
  const result = logits.slice();
  for (const token of new Set(seen))
    result[token] = logits[token] > 0 ? logits[token] / penalty : logits[token] * penalty;
  return result;
}

interface Candidate {
  readonly token: number;
  /** Relative to the likeliest token's. */
  readonly probability: number;
}

interface Candidates {
  /** Likeliest first. */
  readonly list: readonly Candidate[];
  /** Sum over all tokens that may be drawn, including those that are not in `list`. */
  readonly total: number;
}

function candidatesOf(logits: Float32Array, top: number, { temperature, topK, topP, minP }: Narrowing): Candidates {
  const probability = (logit: number) => exponential((logit - top) / temperature);
  if (topK !== undefined && topK < logits.length) {
    const lowest = kthLargest(logits, topK);
    const list = sortedCandidates(logits, probability, (logit) => logit >= lowest).slice(0, topK);
    return { list, total: sum(list) };
  }
  let total = 0;
  for (const logit of logits) total += probability(logit);
  // All tokens with a share below (1 - topP) / n together have less than 1 - topP, so the others reach topP without
  // them.
  const negligible = Math.max(((1 - topP) / logits.length) * total, minP);
  return { list: sortedCandidates(logits, probability, (logit) => probability(logit) >= negligible), total };
}

function sortedCandidates(
  logits: Float32Array,
  probability: (logit: number) => number,
  admit: (logit: number) => boolean,
): Candidate[] {
  const list: Candidate[] = [];
  for (let token = 0; token < logits.length; token++)
    if (admit(logits[token])) list.push({ token, probability: probability(logits[token]) });
  return list.sort((a, b) => b.probability - a.probability || a.token - b.token);
}

/** The fewest likeliest candidates that hold at least `topP` of the total, without those below `minP`. */
function keep(all: Candidates, { topP, minP }: Narrowing): Candidates {
  if (topP === 1 && minP === 0) return all;
  const list = nucleus(all, topP).filter(({ probability }) => probability >= minP);
  return { list, total: sum(list) };
}

function nucleus({ list, total }: Candidates, topP: number): readonly Candidate[] {
  if (topP === 1) return list;
  let held = 0;
  for (let count = 0; count < list.length; count++) {
    held += list[count].probability;
    if (held >= topP * total) return list.slice(0, count + 1);
  }
  return list;
}

function sum(candidates: readonly Candidate[]): number {
  return candidates.reduce((total, { probability }) => total + probability, 0);
}

/** The candidate whose share of the probability contains `uniform`, from [0, 1). */
function draw({ list, total }: Candidates, uniform: number): number {
  let left = uniform * total;
  for (const { token, probability } of list) {
    left -= probability;
    if (left < 0) return token;
  }
  return list[list.length - 1].token;
}

/** The k-th largest value, in one pass over a sorted list of the k largest so far. */
function kthLargest(values: Float32Array, k: number): number {
  const largest = values.slice(0, k).sort();
  for (let i = k; i < values.length; i++) {
    const value = values[i];
    if (value <= largest[0]) continue;
    let low = 0;
    let high = k;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (largest[middle] < value) low = middle;
      else high = middle;
    }
    largest.copyWithin(0, 1, low + 1);
    largest[low] = value;
  }
  return largest[0];
}

/** Uniform numbers from [0, 1): xorshift with 128 bits of state (Marsaglia 2003), 32 bits for each number. */
function createRandom(seed: number): () => number {
  // The golden ratio's bits keep the state from being all zero, the one state that xorshift never leaves.
  const state = Uint32Array.of(...seedWords(seed), 0x9e3779b9, 0x7f4a7c15);
  const next = () => {
    const mixed = state[0] ^ (state[0] << 11);
    state.copyWithin(0, 1);
    const last = state[2];
    state[3] = last ^ (last >>> 19) ^ mixed ^ (mixed >>> 8);
    return state[3] / 2 ** 32;
  };
  // Similar seeds give similar numbers at first.
  for (let i = 0; i < 32; i++) next();
  return next;
}
