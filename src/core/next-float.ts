/** The neighbours of a float32, for conditions that are strict in one place and not in another. */

const words = new Uint32Array(1);
const floats = new Float32Array(words.buffer);

/** The largest float32 below one above 0. */
export function floatBelow(x: number): number {
  return neighbour(x, -1);
}

/** The least float32 above one that is 0 or more. */
export function floatAbove(x: number): number {
  return neighbour(x, 1);
}

/** Floats from 0 on are ordered as their bits are. */
function neighbour(x: number, step: number): number {
  floats[0] = x + 0;
  words[0] += step;
  return floats[0];
}
