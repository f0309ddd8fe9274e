/** Files -> `Graph`. The weights stay where they are. */
import { stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { byteLength } from '../../src/core/dtype.ts';
import { LacunaError } from '../../src/core/errors.ts';
import type { Graph } from '../../src/core/graph.ts';
import { asIoError, systemCode } from '../../src/core/io-error.ts';
import { readBounded } from '../regular-file.ts';
import { decodeModel } from './decode.ts';
import { badFile, type Source } from './decode-tensor.ts';
import { MAX_MODEL_BYTES } from './proto.ts';

/**
 * Reads a model. Weights of more than a kilobyte become ranges of their files, checked to lie inside them.
 *
 * Throws `not-found` when the model or its external data are missing, `bad-file` for anything that is not a valid ONNX
 * model, `unsupported` for a valid one that uses what a `Graph` cannot hold.
 *
 * @example const graph = await readOnnx('model/onnx/model.onnx');
 */
export async function readOnnx(modelPath: string): Promise<Graph> {
  const bytes = await readModel(modelPath);
  const source: Source = { path: modelPath, folder: dirname(modelPath), bytes, externals: [] };
  const graph = decodeModel(source);
  await checkExternals(source);
  return graph;
}

/** All bytes of a model file, which hold its graph. Throws as `readOnnx` does. */
export async function readModel(path: string): Promise<Uint8Array> {
  try {
    return await readBounded(path, MAX_MODEL_BYTES, 'Larger models keep their weights in external data.');
  } catch (error) {
    if (error instanceof LacunaError && error.code === 'not-found')
      throw new LacunaError('not-found', `No model at ${path}`, { cause: error });
    throw error;
  }
}

async function checkExternals(source: Source): Promise<void> {
  const sizes = new Map<string, number>();
  for (const { name, dtype, shape, byteOffset, path } of source.externals) {
    const file = basename(path);
    const size =
      sizes.get(path) ?? (await fileSize(path, `${source.path} keeps weights in ${file}, which is not there`));
    sizes.set(path, size);
    const end = byteOffset + byteLength(dtype, shape);
    if (end > size)
      throw badFile(source, `Tensor "${name}" ends at byte ${end} of ${file}, which has ${size}; is it cut short?`);
  }
}

async function fileSize(path: string, missing: string): Promise<number> {
  try {
    const found = await stat(path);
    if (found.isFile()) return found.size;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') throw new LacunaError('not-found', missing, { cause: error });
    throw asIoError(error, 'read', path);
  }
  throw new LacunaError('bad-file', `${path} is not a file`);
}
