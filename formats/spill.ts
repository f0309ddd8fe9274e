/** Sums that do not fit into memory together go to a file beside the output, until they are written there. */
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { asIoError } from '../src/core/io-error.ts';
import type { LayerSums, Sums, SumTensor } from '../src/core/statistics.ts';
import type { FileTensor } from '../src/core/tensor.ts';
import { createBeside, removeAbandoned } from './beside.ts';
import { writeAll } from './files.ts';
import { sumTensor } from './statistics.ts';

/** Bytes of sums that stay in memory. Those of a small model need no file. */
const HELD_BYTES = 64 << 20;

/** Keeps sums in memory while there is room, and puts further ones into the file. */
export type Spill = (sums: Sums) => Promise<LayerSums>;

/** Runs `use` with a place for sums. Their file beside `output` is removed at the end, or by the next run for it. */
export async function withSpill<T>(output: string, use: (spill: Spill) => Promise<T>, room = HELD_BYTES): Promise<T> {
  const target = resolve(output);
  let file: readonly [path: string, handle: FileHandle] | undefined;
  let [left, spilled] = [room, 0];
  const put = async (name: string, sum: SumTensor): Promise<SumTensor | FileTensor> => {
    left -= sum.data.byteLength;
    if (left >= 0) return sum;
    file ??= await openBeside(target);
    const [path, handle] = file;
    const { dtype, shape, bytes } = sumTensor(sum);
    const tensor: FileTensor = { kind: 'file', dtype, shape, path, byteOffset: spilled, name, mustBeFinite: true };
    await writeAll(handle, bytes, spilled);
    spilled += bytes.length;
    return tensor;
  };
  try {
    return await use(async (sums) => {
      const kept: Record<string, SumTensor | FileTensor> = {};
      for (const [name, sum] of Object.entries(sums)) kept[name] = await put(name, sum);
      return kept;
    });
  } catch (error) {
    throw asIoError(error, 'write', output);
  } finally {
    await file?.[1].close();
    if (file !== undefined) await rm(file[0], { force: true });
  }
}

async function openBeside(target: string): Promise<readonly [path: string, handle: FileHandle]> {
  await mkdir(dirname(target), { recursive: true });
  await removeAbandoned(target);
  return createBeside(target, 'partial', (name) => open(name, 'wx'));
}
