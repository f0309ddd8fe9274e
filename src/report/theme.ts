/** Colours by their names in the style sheet, which says what they are in light and in dark. */

const named = (name: string) => `var(--${name})`;

export const INK = named('ink');
export const MUTED = named('muted');
export const LINE = named('line');
export const PAGE = named('page');
export const FIRST = named('first');
export const SECOND = named('second');
export const THIRD = named('third');

/** From low to high. */
export const HEAT = Array.from({ length: 8 }, (_, step) => named(`heat-${step}`));
