/**
 * Reads wide sums, which calibrate/exact-sum.ts makes: [2, ...shape], first multiples of 2^16, then the rest. Of
 * symmetric matrices they hold the rows of the lower triangle, one after the other.
 */

/** The sums as plain numbers, rounded to float64. */
export function wideValues(sums: Float64Array): Float64Array {
  const length = sums.length / 2;
  return sums.subarray(0, length).map((sum, i) => sum + sums[length + i]);
}

/** Entries of the first `width` rows of a symmetric matrix, each up to the diagonal. */
export function triangleSize(width: number): number {
  return (width * (width + 1)) / 2;
}

/**
 * Writes the symmetric matrix whose triangle the sums are, [2, triangleSize(width)], into `matrix`, [width, width], and
 * returns it. Fits that subtract want float64; where memory counts, float32 takes half of it.
 */
export function fillSymmetric<M extends Float32Array | Float64Array>(matrix: M, sums: Float64Array, width: number): M {
  const size = triangleSize(width);
  for (let row = 0, i = 0; row < width; row++)
    for (let column = 0; column <= row; column++, i++) {
      const value = sums[i] + sums[size + i];
      matrix[row * width + column] = value;
      matrix[column * width + row] = value;
    }
  return matrix;
}
