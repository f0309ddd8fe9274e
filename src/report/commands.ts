/** The commands that measure what a page does not show. DIR is the page's folder, FP32-DIR the checkpoint's floats converted. */

export const EVALUATE = [
  'mkdir -p DIR/lacuna',
  'lacuna eval DIR --against FP32-DIR --json > DIR/lacuna/evaluation.json',
] as const;

export const TIME = ['mkdir -p DIR/lacuna', 'lacuna bench DIR --json > DIR/lacuna/bench.json'] as const;

export const CALIBRATE = [
  'lacuna calibrate CHECKPOINT -o statistics.json',
  'lacuna report statistics.json -o statistics.html',
] as const;

/** For statistics that lack one. */
export const CALIBRATE_AGAIN = ['lacuna calibrate CHECKPOINT -o statistics.json --force'] as const;

/** Each once, in order. */
export function together(...lists: readonly (readonly string[])[]): readonly string[] {
  return [...new Set(lists.flat())];
}
