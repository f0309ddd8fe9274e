/** What a measured speed-up shows, in the words of commands and reports. */

export type SpeedVerdict = 'slower' | 'faster' | 'not sure to be faster';

/** What the mean ratio of two speeds is above and below, with a confidence of 95 % each; null from one repeat. */
export interface SpeedBounds {
  readonly lowerBound: number | null;
  readonly upperBound: number | null;
}

/** Surely slower, surely faster, or neither. */
export function speedVerdict({ lowerBound, upperBound }: SpeedBounds): SpeedVerdict {
  if (upperBound !== null && upperBound < 1) return 'slower';
  return lowerBound !== null && lowerBound > 1 ? 'faster' : 'not sure to be faster';
}
