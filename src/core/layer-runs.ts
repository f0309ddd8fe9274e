/** Layers as people write them: "0-4,6-10,12". */

/** Ascending numbers, with ranges joined. */
export function runsText(numbers: readonly number[], separator = ', '): string {
  const runs: [number, number][] = [];
  for (const number of numbers) {
    const last = runs.at(-1);
    if (last?.[1] === number - 1) last[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(separator);
}

/** No model has as many layers. A range of more would only take memory. */
const MOST_LAYERS = 10_000;

/** The numbers that a text names, ascending and each once; undefined where it is no such list. */
export function parseRuns(text: string): readonly number[] | undefined {
  const numbers = new Set<number>();
  for (const part of text.split(',')) {
    const [, first, last = first] = /^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$/.exec(part) ?? [];
    if (first === undefined || Number(last) < Number(first) || Number(last) >= MOST_LAYERS) return undefined;
    for (let number = Number(first); number <= Number(last); number++) numbers.add(number);
  }
  return [...numbers].sort((a, b) => a - b);
}
