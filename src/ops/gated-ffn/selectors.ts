/** The selectors, in order: a new one is a file beside this and a line here. */
import { nested } from './nested.ts';
import { none } from './none.ts';
import { predictor } from './predictor.ts';
import { product } from './product.ts';
import type { Selector } from './selection.ts';
import { statistical } from './statistical.ts';
import { threshold } from './threshold.ts';

export const SELECTORS = [none, threshold, statistical, product, predictor, nested] as const;

type SettingsOf<S> = S extends Selector<infer Settings> ? Settings : never;
/** The settings of any selector, told apart by `kind`. */
export type SelectorChoice = SettingsOf<(typeof SELECTORS)[number]>;

export function selectorOf({ kind }: SelectorChoice): Selector<SelectorChoice> {
  const found: Selector<SelectorChoice> | undefined = SELECTORS.find((selector) => selector.kind === kind);
  if (found === undefined) throw new RangeError(`No selector ${kind}`);
  return found;
}
