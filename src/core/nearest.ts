/** The name in a list that is most similar to a given one, for error messages. */

/** Insertions, deletions and replacements that turn `a` into `b` (Levenshtein 1966), one row of the table at a time. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[b.length];
}

/** The first of `names` (at least one) with the least edit distance to `name`. */
export function nearest(name: string, names: readonly string[]): string {
  return names.reduce((best, other) => (editDistance(name, other) < editDistance(name, best) ? other : best));
}
