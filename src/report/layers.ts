/** Layers along an axis. */

/** Named every so often that names never touch. */
export function layerAxis(layers: number): { readonly name: string; readonly categories: readonly string[] } {
  return { name: 'layer', categories: Array.from({ length: layers }, (_, layer) => String(layer)) };
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Of lists that are equally long, what `of` makes of their first values, their second ones, and so on. */
export function across(lists: readonly (readonly number[])[], of: (values: readonly number[]) => number): number[] {
  return lists[0]?.map((_, at) => of(lists.map((list) => list[at]))) ?? [];
}
