/** The one rule by which some pieces of a text stand for all of them. */

/**
 * `count` of the items at equal distances, starting with the first. All items if there are no more than `count`.
 *
 * @example spreadEvenly(['a', 'b', 'c', 'd', 'e'], 2); // ['a', 'c']
 */
export function spreadEvenly<T>(items: readonly T[], count: number): readonly T[] {
  if (items.length <= count) return items;
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]);
}
