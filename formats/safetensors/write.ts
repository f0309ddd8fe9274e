/** Writes safetensors files: header first, then the tensors one after the other as they are evaluated. */
import { byteLength } from '../../src/core/dtype.ts';
import { LacunaError } from '../../src/core/errors.ts';
import type { TensorExpr } from '../../src/core/tensor.ts';
import { streamTensor } from '../../src/tensors/index.ts';
import { writeFileAtomically } from '../files.ts';
import { safetensorsName } from './dtypes.ts';
import { LENGTH_BYTES, MAX_HEADER_BYTES } from './read.ts';

/** Data start at a multiple of this, as in the format's own writer. The header is padded with spaces. */
const ALIGNMENT = 8;

export interface Entry {
  readonly name: string;
  readonly data: TensorExpr;
}

/**
 * Writes tensors in the given order. The file appears complete or not at all, and at most a few blocks of it are in
 * memory. Throws as `streamTensor` and `writeFileAtomically` do; 'usage' for a name given twice.
 *
 * @example await writeSafetensors('w.safetensors', [{ name: 'w', data: float32Tensor([1, 2]) }], { made_by: 'me' });
 */
export async function writeSafetensors(
  path: string,
  entries: Iterable<Entry>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const list = [...entries];
  const header = encodeHeader(list, metadata);
  await writeFileAtomically(path, content(header, list));
}

function encodeHeader(entries: readonly Entry[], metadata: Readonly<Record<string, string>>): Uint8Array {
  // A Map, not an object: a tensor may be called "__proto__", and "1" would be moved to the front.
  const fields = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) fields.set('__metadata__', metadata);
  let end = 0;
  for (const { name, data } of entries) {
    if (name === '__metadata__' || fields.has(name))
      throw new LacunaError(
        'usage',
        `Tensor names must differ and not be "__metadata__", but "${name}" was given again`,
      );
    const begin = end;
    end += byteLength(data.dtype, data.shape);
    fields.set(name, { dtype: safetensorsName(data.dtype), shape: data.shape, data_offsets: [begin, end] });
  }
  const json = [...fields].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',');
  return padded(new TextEncoder().encode(`{${json}}`));
}

/** The length, then the header with its spaces. */
function padded(json: Uint8Array): Uint8Array {
  const length = Math.ceil(json.length / ALIGNMENT) * ALIGNMENT;
  if (length > MAX_HEADER_BYTES)
    throw new LacunaError(
      'unsupported',
      `A safetensors header of ${length} bytes is over the limit of ${MAX_HEADER_BYTES}`,
    );
  const header = new Uint8Array(LENGTH_BYTES + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, LENGTH_BYTES);
  return header;
}

async function* content(header: Uint8Array, entries: readonly Entry[]): AsyncGenerator<Uint8Array> {
  yield header;
  for (const { data } of entries) yield* streamTensor(data);
}
