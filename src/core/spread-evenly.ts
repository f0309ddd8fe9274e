/** The one rule by which a part of a text's pieces stands for all of them. */

/**
 * `count` of the items at equal distances, from the first on; all of them where there are no more.
 *
 * @example spreadEvenly(['a', 'b', 'c', 'd', 'e'], 2); // ['a', 'c']
 */
export function spreadEvenly<T>(items: readonly T[], count: number): readonly T[] {
  if (items.length <= count) return items;
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]);
}
