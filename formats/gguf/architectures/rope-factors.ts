/**
 * Llama 3.1's position scaling. GGUF holds its result, a divisor for each rotary frequency, instead of the parameters.
 * The parameters are found again by computing the divisors of the known ones.
 */
import type { JsonObject } from '../../../src/core/json.ts';
import type { StoredTensor } from '../../../src/core/tensor.ts';
import { readFloats } from '../../../src/tensors/index.ts';
import { unsupportedGguf } from '../cursor.ts';

export const ROPE_FACTORS = 'rope_freqs.weight';

/** The parameters of all Llama 3.1, 3.2 and 3.3 models. Only the factor differs (8 or 32). */
const KNOWN = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 } as const;

/**
 * Relative. Divisors are stored in float32; other programs computed them from frequencies rounded to float32. Between
 * the two wavelengths, an error of a frequency is amplified at most (high + factor * low) / (high - low) < 12-fold.
 */
const TOLERANCE = 12 * 2 ** -20;

/** `rope_scaling` of the config. Throws 'unsupported' when the divisors are not those of any Llama 3. */
export async function llama3Scaling(
  tensor: StoredTensor,
  { theta, headDim, path }: { readonly theta: number; readonly headDim: number; readonly path: string },
): Promise<JsonObject> {
  const found = tensor.shape[0] === headDim / 2 ? await readFloats(tensor) : new Float32Array(0);
  const factor = Math.max(...found);
  const wanted = Array.from({ length: headDim / 2 }, (_, i) => divisor(theta ** ((2 * i) / headDim), factor));
  if (wanted.length === found.length && wanted.every((value, i) => Math.abs(found[i] / value - 1) <= TOLERANCE))
    return { rope_type: 'llama3', factor, ...KNOWN };
  throw unsupportedGguf(`${path}: its "${ROPE_FACTORS}" scales positions otherwise than Llama 3`);
}

/** The divisor of a frequency of 1 / `inverse` radians a token (Llama 3.1's reference code, `apply_scaling`). */
function divisor(inverse: number, factor: number): number {
  const { low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = KNOWN;
  const wavelength = 2 * Math.PI * inverse;
  if (wavelength < original / high) return 1;
  if (wavelength > original / low) return factor;
  const smooth = (original / wavelength - low) / (high - low);
  return 1 / ((1 - smooth) / factor + smooth);
}
