/** Adds a product of two thin matrices to a run of a large one's elements. */

export interface Product {
  /** Of the large matrix. */
  readonly columns: number;
  /** [rows, rank] and [rank, columns], row-major. */
  readonly left: Float32Array;
  readonly right: Float32Array;
  readonly scale: number;
}

/**
 * target[i] += scale * (left right)[first + i], with elements counted row by row. Sums are formed in float64 and
 * rounded once.
 */
export function addProduct({ columns, left, right, scale }: Product, first: number, target: Float32Array): void {
  const rank = right.length / columns;
  const sums = new Float64Array(columns);
  for (let done = 0; done < target.length; ) {
    const row = Math.floor((first + done) / columns);
    const start = (first + done) % columns;
    const count = Math.min(columns - start, target.length - done);
    sums.fill(0, 0, count);
    for (let k = 0; k < rank; k++) {
      const factor = scale * left[row * rank + k];
      const from = k * columns + start;
      for (let j = 0; j < count; j++) sums[j] += factor * right[from + j];
    }
    for (let j = 0; j < count; j++) target[done + j] += sums[j];
    done += count;
  }
}
