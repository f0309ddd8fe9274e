/** Which models can keep their caches in fp16 or int8, and attend to few of the tokens in them. */
import { readOnnx } from '../../../formats/onnx/index.ts';
import { type CacheUse, isNarrow } from '../../core/cache-format.ts';
import { LacunaError } from '../../core/errors.ts';
import type { Graph, Node } from '../../core/graph.ts';
import { operatorOf } from '../../ops/index.ts';

const PAST = /^past_key_values\./;
const PRESENT = /^present\./;

const ONLY_CODES = 'Folders in int8, int6, int5 and int4 can. Make one: lacuna convert CHECKPOINT -o DIR --dtype int8.';
const TRAINED_TO_CHOOSE =
  'Leave out --cache and --attended: this model was trained to attend to few tokens, and its caches are floats.';

/**
 * Throws `unsupported` unless our attention alone reads the caches of a model: ONNX Runtime's own would take narrow ones for
 * floats, and reads all tokens. Also where few tokens are to be attended to and every layer has a window, which is few tokens
 * already. `path` is the .onnx file, `graph` its graph where that is known.
 */
export async function checkOurCache(use: CacheUse, path: string, graph?: Graph): Promise<void> {
  const { inputs, nodes } = graph ?? (await readOnnx(path));
  const caches = new Set(inputs.map(({ name }) => name).filter((name) => PAST.test(name)));
  const readers = nodes.filter((node) => node.inputs.some((name) => caches.has(name) || PRESENT.test(name)));
  const other = readers.find((node) => operatorOf(node) !== 'NormAttention');
  if (caches.size === 0) throw refusal(use, path, 'it has no caches');
  if (other !== undefined) {
    const why = `${other.opType} reads its caches, and takes them as the file has them`;
    throw refusal(use, path, why, operatorOf(other) === 'SparkAttention' ? TRAINED_TO_CHOOSE : undefined);
  }
  if (use.attended === undefined || !readers.every(hasWindow)) return;
  throw new LacunaError('unsupported', `${path}: every layer has a window, and attends to few tokens already`, {
    hint: 'Leave out --attended (and --against-attended): it would change nothing.',
  });
}

function hasWindow({ attributes: { local_window_size: size } }: Node): boolean {
  return size?.kind === 'int' && size.value > 0;
}

function refusal(use: CacheUse, path: string, why: string, hint = ONLY_CODES): LacunaError {
  const what = isNarrow(use.cache)
    ? `its caches cannot be in ${use.cache}`
    : `its queries cannot attend to ${use.attended} tokens`;
  return new LacunaError('unsupported', `${path}: ${what}: ${why}`, { hint });
}

/** For a cache that was asked for where the native core does not run: `why` that is. */
export function noSuchCache(use: CacheUse, why: string): LacunaError {
  const [does, option] = isNarrow(use.cache)
    ? [`has caches in ${use.cache}`, 'cache']
    : ['attends to few tokens', 'attended'];
  return new LacunaError('unsupported', `Only the native core ${does}: ${why}`, {
    hint: `Leave out --${option} (and --against-${option}), or see what the native core lacks: lacuna doctor.`,
  });
}
