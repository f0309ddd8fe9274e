/** Codes of 5 and 6 bits in planes, one code at a time. */

/** Columns that share a scale, and half of them. */
const [BLOCK, HALF] = [32, 16];

/** Code `column` of a row of whole blocks. */
export function codeInPlanes(row: Uint8Array, column: number, bits: number): number {
  const { lower, shift, uppers, bit } = placesOf(row.length / (4 * bits), column, bits);
  return uppers.reduce(
    (code, byte, plane) => code | (((row[byte] >> bit) & 1) << (4 + plane)),
    (row[lower] >> shift) & 15,
  );
}

/** Puts a code into such a row of zeros. */
export function setInPlanes(row: Uint8Array, column: number, bits: number, code: number): void {
  const { lower, shift, uppers, bit } = placesOf(row.length / (4 * bits), column, bits);
  row[lower] |= (code & 15) << shift;
  for (const [plane, byte] of uppers.entries()) row[byte] |= ((code >> (4 + plane)) & 1) << bit;
}

/** The byte and shift of a column's lower bits, the byte of each upper one, and which bit of it. */
function placesOf(blocks: number, column: number, bits: number) {
  const [block, within] = [Math.floor(column / BLOCK), column % BLOCK];
  const isLast = within < HALF ? 0 : 1;
  const place = within % HALF;
  const planes = Array.from({ length: bits - 4 }, (_, plane) => 4 * blocks * plane);
  return {
    lower: 4 * blocks * planes.length + HALF * block + place,
    shift: 4 * isLast,
    uppers: planes.map((start) => start + 2 * blocks * isLast + 2 * block + (place >> 3)),
    bit: place & 7,
  };
}
