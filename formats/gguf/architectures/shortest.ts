/** Numbers that passed through float32, in their original spelling. */

/** The shortest decimal that is the same float32: 1e-5 and not 0.000009999999747378752. */
export function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}
