/** Seeded choices: the same in every run and on every machine. */

export interface Random {
  /** From 0 to `below` - 1. */
  int(below: number): number;
  chance(probability: number): boolean;
  pick<T>(items: readonly T[]): T;
  /** One of `items`, each with the frequency of its weight. */
  weighted<T extends { readonly weight: number }>(items: readonly T[]): T;
  /** The seed of another sequence. */
  seed(): number;
}

/** One sequence for each seed (mulberry32, by T. Ettinger). */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const int = (below: number) => Math.floor((next() / 2 ** 32) * below);
  return {
    int,
    chance: (probability) => next() / 2 ** 32 < probability,
    pick: (items) => items[int(items.length)],
    weighted: (items) => {
      let left = (next() / 2 ** 32) * items.reduce((sum, { weight }) => sum + weight, 0);
      for (const item of items) {
        left -= item.weight;
        if (left < 0) return item;
      }
      return items[items.length - 1];
    },
    seed: next,
  };
}

/** The sequence of case `index`. */
export function randomOfCase(seed: number, index: number): Random {
  return createRandom(createRandom(Math.imul(seed, 0x9e3779b1) ^ index).seed());
}
