/** Gemma 3 saved with its vision tower. Its text model is a Gemma 3 of its own. */
import type { Checkpoint } from '../src/core/checkpoint.ts';
import { LacunaError } from '../src/core/errors.ts';
import { isJsonObject } from '../src/core/json.ts';
import { attempt } from '../src/core/problems.ts';
import type { TensorExpr } from '../src/core/tensor.ts';
import type { Architecture } from './architecture.ts';
import { AS_PUBLISHED, shown } from './config/issues.ts';
import { decoderArchitecture } from './decoder.ts';
import { gemma3Family } from './gemma3.ts';

type Config = Checkpoint['config'];

/** The class around the text model computes the logits, and never caps them. */
const textModel = decoderArchitecture({
  ...gemma3Family,
  lacks: [...gemma3Family.lacks, 'final_logit_softcapping'],
  reads: gemma3Family.reads?.filter((field) => field !== 'final_logit_softcapping') ?? [],
});

export const gemma3Multimodal: Architecture = {
  modelType: 'gemma3',
  className: 'Gemma3ForConditionalGeneration',
  open: (checkpoint, options) => {
    const text = textCheckpoint(checkpoint);
    const left = checkpoint.tensors.size - text.tensors.size;
    const note = `Only the text model is converted: ${left} tensors of the vision tower and its projector are left out.`;
    return { ...textModel.open(text, options), notes: left === 0 ? [] : [note] };
  },
  layout: (checkpoint) => textModel.layout(textCheckpoint(checkpoint)),
  problems: (checkpoint, unread) => {
    const problems: LacunaError[] = [];
    const text = attempt(problems, () => textCheckpoint(checkpoint));
    if (text === undefined) return problems;
    return textModel.problems(text, unread === 'all' ? unread : new Set([...unread].map(textTensorName)));
  },
  hostConfig: (config) => ({ ...gemma3Family.defaults, ...textConfig(config) }),
};

function textCheckpoint(checkpoint: Checkpoint): Checkpoint {
  const { config, path, tensors } = checkpoint;
  const given = config.text_config;
  if (!isJsonObject(given))
    throw new LacunaError('bad-file', `config.json of ${path} has text_config ${shown(given)}, wanted an object`, {
      hint: AS_PUBLISHED,
    });
  return { ...checkpoint, config: textConfig(config), tensors: textTensors(tensors, path) };
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

function textConfig(config: Config): Record<string, unknown> {
  const shared = SHARED_FIELDS.filter((field) => config[field] !== undefined && config[field] !== null);
  return {
    ...(config.text_config as Config),
    ...Object.fromEntries(shared.map((field) => [field, config[field]])),
    // Transformers ties the head by the setting of the whole, whatever the part says.
    tie_word_embeddings: config.tie_word_embeddings ?? true,
    model_type: gemma3Family.modelType,
    architectures: [gemma3Family.className],
  };
}

const VISION = /^(model\.)?(vision_tower|multi_modal_projector)\./;

/** Tensors of the text model by their names in a text checkpoint. */
function textTensors(tensors: Checkpoint['tensors'], path: string): Map<string, TensorExpr> {
  const renamed = new Map<string, TensorExpr>();
  const names = new Map<string, string>();
  for (const [name, tensor] of tensors) {
    if (VISION.test(name)) continue;
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
