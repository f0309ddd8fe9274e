/** Checkpoints that wrap a text model, beside towers for images and sound. The text model is a checkpoint of its own. */
import type { Checkpoint } from '../src/core/checkpoint.ts';
import { LacunaError } from '../src/core/errors.ts';
import { isJsonObject } from '../src/core/json.ts';
import { attempt } from '../src/core/problems.ts';
import type { TensorExpr } from '../src/core/tensor.ts';
import type { Architecture } from './architecture.ts';
import type { Family } from './config/decoder-config.ts';
import { AS_PUBLISHED, shown } from './config/issues.ts';

type Config = Checkpoint['config'];

/** What is around a text model. */
export interface Wrapper extends Pick<Architecture, 'modelType' | 'className'> {
  /** The text model, and how configs of its own call it. */
  readonly text: Architecture;
  readonly family: Family;
  /** Tensors that are not the text model's, and what a note calls them. */
  readonly others: RegExp;
  readonly othersAre: string;
}

export function wrappedText({ text: model, family, others, othersAre, ...names }: Wrapper): Architecture {
  const textOf = (checkpoint: Checkpoint): Checkpoint => {
    const { config, path, tensors } = checkpoint;
    const given = config.text_config;
    if (!isJsonObject(given))
      throw new LacunaError('bad-file', `config.json of ${path} has text_config ${shown(given)}, wanted an object`, {
        hint: AS_PUBLISHED,
      });
    return { ...checkpoint, config: textConfig(config, family), tensors: textTensors(tensors, others, path) };
  };
  return {
    ...names,
    open: (checkpoint, options) => {
      const text = textOf(checkpoint);
      const left = checkpoint.tensors.size - text.tensors.size;
      const note = `Only the text model is converted: ${left} tensors of ${othersAre} are left out.`;
      return { ...model.open(text, options), notes: left === 0 ? [] : [note] };
    },
    layout: (checkpoint) => model.layout(textOf(checkpoint)),
    problems: (checkpoint, unread) => {
      const problems: LacunaError[] = [];
      const text = attempt(problems, () => textOf(checkpoint));
      if (text === undefined) return problems;
      return model.problems(text, unread === 'all' ? unread : new Set([...unread].map(textTensorName)));
    },
    hostConfig: (config) => ({ ...family.defaults, ...textConfig(config, family) }),
  };
}

/** Fields beside `text_config` that are about the whole. If present, they override those inside. */
const SHARED_FIELDS = [
  'bos_token_id',
  'eos_token_id',
  'pad_token_id',
  'dtype',
  'torch_dtype',
  'transformers_version',
  'quantization_config',
  'compression_config',
  'quantization',
] as const;

function textConfig(config: Config, { modelType, className }: Family): Record<string, unknown> {
  const shared = SHARED_FIELDS.filter((field) => config[field] !== undefined && config[field] !== null);
  return {
    ...(config.text_config as Config),
    ...Object.fromEntries(shared.map((field) => [field, config[field]])),
    // Transformers ties the head by the setting of the whole, whatever the part says.
    tie_word_embeddings: config.tie_word_embeddings ?? true,
    model_type: modelType,
    architectures: [className],
  };
}

/** Tensors of the text model by their names in a text checkpoint. */
function textTensors(tensors: Checkpoint['tensors'], others: RegExp, path: string): Map<string, TensorExpr> {
  const renamed = new Map<string, TensorExpr>();
  const names = new Map<string, string>();
  for (const [name, tensor] of tensors) {
    if (others.test(name)) continue;
    const textName = textTensorName(name);
    const twice = names.get(textName);
    if (twice !== undefined)
      throw new LacunaError('mismatch', `${path} has one tensor under two names: ${twice} and ${name}`, {
        hint: 'Remove one of the two from the checkpoint.',
      });
    renamed.set(textName, tensor);
    names.set(textName, name);
  }
  return renamed;
}

/** Before Transformers 4.52, the text model with its head was `language_model`. Since then it is within `model`. */
function textTensorName(name: string): string {
  return name.replace(/^model\.language_model\./, 'model.').replace(/^language_model\./, '');
}
