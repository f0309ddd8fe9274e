/** Float16 numbers in bytes, as numbers. */
import { float16Values } from '../src/quantize/float-cast.ts';

export function float16Numbers(bytes: Uint8Array): Float32Array {
  const values = float16Values();
  return Float32Array.from(new Uint16Array(bytes.slice().buffer), (half) => values[half]);
}
