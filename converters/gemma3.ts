/** Gemma 3's text model: Gemma 2 with normed heads in place of soft-capped scores, and positions of its own in windows. */
import * as z from 'zod';
import { attentionBiases } from './config/biases.ts';
import type { Family, ReadRopes } from './config/decoder-config.ts';
import { parseConfig, refuseAll, shown } from './config/issues.ts';
import { fullEvery } from './config/layer-kinds.ts';
import { readRopeConfig } from './config/rope-config.ts';
import { decoderArchitecture } from './decoder.ts';

const rope = z.record(z.string(), z.unknown()).nullish();
const theta = z.number().gt(1);

const ropeSchema = z.object({
  rope_theta: theta.nullish(),
  rope_local_base_freq: theta.nullish(),
  rope_scaling: rope,
  // Transformers reads nothing else there, so a rotary base beside the two would be lost.
  rope_parameters: z.strictObject({ full_attention: rope, sliding_attention: rope }).nullish(),
});

/** Layers with a window keep the base of their training. Only the others are scaled to long contexts. */
export const readRopes: ReadRopes = (config, maxPositions, path) => {
  const fields = parseConfig(ropeSchema, config, path);
  const { rope_scaling: scaling, rope_parameters: parameters } = fields;
  refuseAll(
    path,
    scaling && scaling.rope_type === undefined && scaling.type !== undefined
      ? ['rope_scaling.type without rope_type: versions of Transformers differ in whether they heed it']
      : [],
    'Rename the field to rope_type, or remove rope_scaling.',
  );
  refuseAll(path, untruncated(fields), 'Remove the field: Transformers rounds the range whatever it says.');
  const global = {
    rope_theta: fields.rope_theta ?? 1_000_000,
    rope_scaling: scaling,
    rope_parameters: parameters?.full_attention,
  };
  const local = {
    rope_theta: fields.rope_local_base_freq ?? 10_000,
    rope_parameters: parameters?.sliding_attention,
  };
  const read = (from: object, kind: string) => readRopeConfig(from, maxPositions, path, `rope_parameters.${kind}`);
  return {
    full_attention: { name: 'rotary.global', rope: read(global, 'full_attention') },
    sliding_attention: { name: 'rotary.local', rope: read(local, 'sliding_attention') },
  };
};

/** Transformers looks for the field beside the kinds of layers, where it cannot be. */
function untruncated({ rope_scaling, rope_parameters }: z.infer<typeof ropeSchema>): string[] {
  const records = {
    rope_scaling,
    'rope_parameters.full_attention': rope_parameters?.full_attention,
    'rope_parameters.sliding_attention': rope_parameters?.sliding_attention,
  };
  return Object.entries(records)
    .filter(([, rope]) => rope?.truncate !== undefined && rope.truncate !== true)
    .map(
      ([field, rope]) => `${field}.truncate = ${shown(rope?.truncate)}: not read where positions are by kind of layer`,
    );
}

export const gemma3Family: Family = {
  modelType: 'gemma3_text',
  className: 'Gemma3ForCausalLM',
  defaults: {
    vocab_size: 262_208,
    hidden_size: 2304,
    intermediate_size: 9216,
    num_hidden_layers: 26,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    head_dim: 256,
    hidden_activation: 'gelu_pytorch_tanh',
    max_position_embeddings: 131_072,
    eos_token_id: 1,
    bos_token_id: 2,
    tie_word_embeddings: true,
    query_pre_attn_scalar: 256,
    sliding_window: 4096,
  },
  // Transformers' config has a field for soft-capped scores, but its Gemma 3 does not compute them.
  lacks: ['mlp_bias', 'attn_logit_softcapping'],
  reads: ['query_pre_attn_scalar', 'final_logit_softcapping'],
  activationField: 'hidden_activation',
  layers: fullEvery(6),
  ropes: readRopes,
  biases: attentionBiases,
  traits: { addsOneToNorms: true, scalesEmbeddings: true, normsHeads: true, normsOutputs: true },
};

export const gemma3 = decoderArchitecture(gemma3Family);
