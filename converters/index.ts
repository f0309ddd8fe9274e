/** Checkpoints to graphs: the list of architectures, and the functions that later stages call. */
import type { Checkpoint } from '../src/core/checkpoint.ts';
import { LacunaError } from '../src/core/errors.ts';
import type { ModelPieces } from '../src/core/model.ts';
import { nearest } from '../src/core/nearest.ts';
import { choosePrecision } from '../src/core/precision.ts';
import { attempt } from '../src/core/problems.ts';
import type { Architecture, OpenOptions, UnreadTensors } from './architecture.ts';
import { bamboo } from './bamboo.ts';
import { gemma } from './gemma.ts';
import { gemma2 } from './gemma2.ts';
import { gemma3 } from './gemma3.ts';
import { gemma3Multimodal } from './gemma3-multimodal.ts';
import { gemma3n } from './gemma3n.ts';
import { gemma3nMultimodal } from './gemma3n-multimodal.ts';
import type { ModelLayout } from './layout.ts';
import { llama } from './llama.ts';
import { mistral } from './mistral.ts';
import { spark } from './spark.ts';
import { sparseLlama } from './sparsellama.ts';

export type { UnreadTensors } from './architecture.ts';
export { assemble } from './assemble.ts';
export { sharesCacheBuffer } from './blocks/attention.ts';
export type { LayerConfig } from './config/decoder-config.ts';
export type { RopeConfig } from './config/rope-config.ts';
export { type ModelLayout, sumByKind, type WeightKind, weightKind } from './layout.ts';

/** Every supported architecture, in the order in which messages name them. */
export const ARCHITECTURES: readonly Architecture[] = [
  llama,
  mistral,
  sparseLlama,
  bamboo,
  gemma,
  gemma2,
  gemma3,
  gemma3Multimodal,
  gemma3n,
  gemma3nMultimodal,
  spark,
];

const MODEL_TYPES = ARCHITECTURES.map(({ modelType }) => modelType);

/**
 * The pieces of the checkpoint's model; its config and all tensor shapes are checked before any weight is read. Throws
 * `unsupported` for a model type, feature or float type that is not supported; `bad-file` for a config that is wrong in
 * itself; `not-found` for missing tensors; `mismatch` for tensors that differ from the config.
 *
 * @example const pieces = openModel(await openCheckpoint('SmolLM2-135M'), { precision: 'fp32' });
 */
export function openModel(checkpoint: Checkpoint, { precision, ...rest }: OpenOptions): ModelPieces {
  const chosen = typeof precision === 'string' ? choosePrecision(precision) : precision;
  return findArchitecture(checkpoint).open(checkpoint, { ...rest, precision: chosen });
}

/** All reasons for which `openModel` would refuse a checkpoint. `unread` tensors are in a missing or damaged file. */
export function modelProblems(checkpoint: Checkpoint, unread: UnreadTensors = new Set()): readonly LacunaError[] {
  const problems: LacunaError[] = [];
  const architecture = attempt(problems, () => findArchitecture(checkpoint));
  return architecture === undefined ? problems : architecture.problems(checkpoint, unread);
}

/** How the model of a config is built. The checkpoint need have no tensors. Throws as `openModel` does. */
export function modelLayout(checkpoint: Checkpoint): ModelLayout {
  return findArchitecture(checkpoint).layout(checkpoint);
}

/** config.json of a checkpoint for hosts of the converted model. If only a part is converted, the part's config. */
export function hostConfig(config: Checkpoint['config']): Checkpoint['config'] {
  const architecture = ARCHITECTURES.find(({ modelType }) => modelType === config.model_type);
  return architecture?.hostConfig?.(config) ?? config;
}

function findArchitecture({ config, path }: Checkpoint): Architecture {
  const { model_type: modelType, architectures } = config;
  if (typeof modelType !== 'string')
    throw new LacunaError('bad-file', `config.json of ${path} has no model_type, which says how to read the weights`, {
      hint: `Give "model_type" one of: ${MODEL_TYPES.join(', ')}.`,
    });
  const found = ARCHITECTURES.find((architecture) => architecture.modelType === modelType);
  if (found === undefined) {
    const like = nearest(modelType, MODEL_TYPES);
    throw new LacunaError(
      'unsupported',
      `Model type "${modelType}" of ${path} is not supported; the nearest that is: "${like}"`,
      { hint: `Give a checkpoint of one of these types: ${MODEL_TYPES.join(', ')}.` },
    );
  }
  if (Array.isArray(architectures) && !architectures.includes(found.className))
    throw new LacunaError(
      'unsupported',
      `${path} holds ${architectures.join(', ')}; of model type "${modelType}" only ${found.className} is built`,
      { hint: `Give a checkpoint that was saved as ${found.className}.` },
    );
  return found;
}
