/** Chooses among dense models of one precision and of many, on the choose text, what keeps to a budget and is fastest. */
import type { Budget } from '../../core/budget.ts';
import { LacunaError } from '../../core/errors.ts';
import { formatBytes } from '../../core/figures.ts';
import type { BoundedMean, Ratio } from '../../eval/index.ts';
import type { Mix } from '../../plan/index.ts';
import { fastestThatHolds } from './search.ts';

export const MIXED = 'mixed';

/** A model as the choose text shows it. */
export interface Shown {
  /** Perplexity over that of the floats. */
  readonly ratio: Ratio;
  /** Divergence from the floats, in nats a token. */
  readonly kl: BoundedMean;
}

/** A model that may be chosen, with what is expected of it. */
export interface Candidate {
  /** The precision of all its blocks, or `MIXED`. */
  readonly name: string;
  readonly mix: Mix;
  /** In nats a token; null for one precision, which is measured before anything is expected. */
  readonly kl: number | null;
  /** Of a decode step. */
  readonly seconds: number;
  /** Of the model's files. */
  readonly bytes: number;
}

/** A candidate that was measured. */
export interface Tried extends Candidate {
  readonly shown: Shown;
  /** The share of the budgeted loss that it uses up, chance included. It holds up to 1. */
  readonly used: number;
}

export interface Choice {
  readonly chosen: Tried;
  /** The fastest of one precision that keeps to the budget, to take the mix's place where that is no faster; null where none does. */
  readonly uniform: Tried | null;
  readonly tried: readonly Tried[];
}

/** Models with blocks in several precisions. What they are takes long to measure. */
export interface Mixes {
  /** From the most exact to the fastest. */
  readonly mixes: readonly (Candidate & { readonly kl: number })[];
  /** What is expected of one precision in the same way, by its name. */
  readonly whole: Readonly<Record<string, number>>;
}

interface Field {
  readonly budget: Budget;
  /** From the most exact to the fastest. */
  readonly uniform: readonly Candidate[];
  /** Asked for only where one of them may be chosen. */
  readonly mixed: () => Promise<Mixes>;
  readonly show: (candidate: Candidate) => Promise<Shown>;
}

/**
 * Measures dense models of one precision, the fastest first, until one holds, then mixes that should be faster than it. A mix is
 * chosen if it holds. Where no loss is limited, the most exact model that is small and fast enough is chosen. Throws `check-failed`
 * where nothing holds.
 */
export async function choose({ budget, uniform, mixed, show }: Field): Promise<Choice> {
  const tried: Tried[] = [];
  const attempt = async (candidate: Candidate): Promise<Tried> => {
    const shown = await show(candidate);
    const one = { ...candidate, shown, used: shareUsed(shown, budget) };
    tried.push(one);
    return one;
  };
  const [exact] = uniform;
  if (budget.ppl === undefined && budget.kl === undefined) {
    const { mixes } = await mixed();
    const fitting = mixes.find((one) => isSmallAndFast(one, exact, budget));
    if (fitting === undefined) throw contradicts(mixes[mixes.length - 1], exact, budget);
    return { chosen: await attempt(fitting), uniform: null, tried };
  }
  // On some processors fewer bits take longer.
  const byTime = uniform.toSorted((one, other) => one.seconds - other.seconds);
  const dense = await firstThatHolds(byTime, attempt);
  const isFastest = dense !== null && tried.length === 1;
  const best = (isFastest ? null : await fastestMix(await mixed(), dense, tried, attempt)) ?? dense;
  if (best === null) throw nothingHolds(tried, budget);
  if (!isSmallAndFast(best, exact, budget)) throw contradicts(best, exact, budget);
  return { chosen: best, uniform: dense !== null && isSmallAndFast(dense, exact, budget) ? dense : null, tried };
}

type Attempt = (candidate: Candidate) => Promise<Tried>;

async function firstThatHolds(candidates: readonly Candidate[], attempt: Attempt): Promise<Tried | null> {
  for (const candidate of candidates) {
    const one = await attempt(candidate);
    if (one.used <= 1) return one;
  }
  return null;
}

/** Of mixes that should be faster than the dense model. */
async function fastestMix(
  { mixes, whole }: Mixes,
  dense: Tried | null,
  tried: readonly Tried[],
  attempt: Attempt,
): Promise<Tried | null> {
  const rivals = mixes.filter(({ seconds }) => dense === null || seconds < dense.seconds);
  // The search begins at what came nearest to the budget.
  const near = tried.reduce((first, one) => (distance(one) < distance(first) ? one : first));
  const measured = new Map<number, Tried>();
  const at = await fastestThatHolds(
    rivals.map(({ kl }) => kl),
    { expected: whole[near.name], used: near.used },
    async (index) => {
      const one = await attempt(rivals[index]);
      measured.set(index, one);
      return one.used;
    },
  );
  return (at === undefined ? undefined : measured.get(at)) ?? null;
}

/** On a scale of factors. */
function distance({ used }: Tried): number {
  return Math.abs(Math.log(Math.max(used, 1e-3)));
}

function isSmallAndFast({ bytes, seconds }: Candidate, exact: Candidate, budget: Budget): boolean {
  const { bytes: most = Number.POSITIVE_INFINITY, speed: least = 0 } = budget;
  return bytes <= most && exact.seconds / seconds >= least;
}

/**
 * Two quantities of the same text vary by chance: the figure here, and the one of the test text, which has to hold with its own
 * bound. So the bound is taken 1 + sqrt(2) times as wide as one figure's.
 */
const MARGIN = 1 + Math.SQRT2;

function shareUsed({ ratio, kl }: Shown, { ppl, kl: mostKl }: Budget): number {
  const loss = lossOf(ratio);
  const shares = [
    ...(ppl === undefined ? [] : [loss <= 0 ? 0 : loss / Math.log(ppl)]),
    ...(mostKl === undefined ? [] : [divergenceOf(kl) / mostKl]),
  ];
  return Math.max(0, ...shares);
}

/** The logarithm of a ratio, with the margin. */
function lossOf({ value, upperBound }: Ratio): number {
  return Math.log(value) + MARGIN * Math.log((upperBound ?? value) / value);
}

function divergenceOf({ value, upperBound }: BoundedMean): number {
  return value + MARGIN * ((upperBound ?? value) - value);
}

function nothingHolds(tried: readonly Tried[], budget: Budget): LacunaError {
  const best = tried.reduce((least, one) => (one.used < least.used ? one : least));
  const { ratio, kl } = best.shown;
  const withRoom = (value: number, most: number) =>
    `${value.toFixed(4)}${most > value ? ` (with room for chance ${most.toFixed(4)})` : ''}`;
  const loss = withRoom(ratio.value, Math.exp(lossOf(ratio)));
  const figures = `a perplexity ratio of ${loss} and a KL divergence of ${withRoom(kl.value, divergenceOf(kl))}`;
  const wanted = Object.entries(budget).map(([name, value]) => `${name} ${value}`);
  return new LacunaError(
    'check-failed',
    `The most exact model, ${best.name}, has ${figures}: over ${wanted.join(', ')}`,
    {
      hint: 'Allow more, choose on more tokens (--tokens), or ship the floats: lacuna convert CHECKPOINT -o DIR --dtype bf16',
    },
  );
}

function contradicts(best: Candidate, exact: Candidate, budget: Budget): LacunaError {
  const speed = (exact.seconds / best.seconds).toFixed(2);
  const found = `the fastest model within it takes ${formatBytes(best.bytes)} and should decode ${speed} times as fast as ${exact.name}`;
  const wanted = [
    ...(budget.bytes === undefined ? [] : [`at most ${formatBytes(budget.bytes)}`]),
    ...(budget.speed === undefined ? [] : [`at least ${budget.speed} times`]),
  ];
  return new LacunaError('check-failed', `The budget contradicts itself: ${found}, wanted ${wanted.join(' and ')}`, {
    hint: 'Allow a larger loss, or ask for less speed or more bytes.',
  });
}
