/** Which models can keep their caches in fp16 or int8. */
import { readOnnx } from '../../../formats/onnx/index.ts';
import type { CacheFormat } from '../../core/cache-format.ts';
import { LacunaError } from '../../core/errors.ts';
import type { Graph } from '../../core/graph.ts';
import { operatorOf } from '../../ops/index.ts';

const PAST = /^past_key_values\./;
const PRESENT = /^present\./;

/**
 * Throws `unsupported` unless our attention alone reads the caches of a model: ONNX Runtime's own would take narrow ones for
 * floats. `path` is the .onnx file, `graph` its graph where that is known.
 */
export async function checkNarrowCache(cache: CacheFormat, path: string, graph?: Graph): Promise<void> {
  const { inputs, nodes } = graph ?? (await readOnnx(path));
  const caches = new Set(inputs.map(({ name }) => name).filter((name) => PAST.test(name)));
  const reader = nodes.find(
    (node) =>
      operatorOf(node) !== 'NormAttention' && node.inputs.some((name) => caches.has(name) || PRESENT.test(name)),
  );
  if (caches.size > 0 && reader === undefined) return;
  const why =
    reader === undefined
      ? 'it has no caches'
      : `${reader.opType} reads its caches, and takes them as the file has them`;
  throw new LacunaError('unsupported', `${path}: its caches cannot be in ${cache}: ${why}`, {
    hint: 'Folders in int8, int6, int5 and int4 can have such caches. Make one: lacuna convert CHECKPOINT -o DIR --dtype int8.',
  });
}

/** For a narrow cache that was asked for where the native core does not run: `why` that is. */
export function noNarrowCache(cache: CacheFormat, why: string): LacunaError {
  return new LacunaError('unsupported', `Only the native core has caches in ${cache}: ${why}`, {
    hint: 'Leave out --cache (and --against-cache), or see what the native core lacks: lacuna doctor.',
  });
}
