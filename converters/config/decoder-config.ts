/** config.json of a LLaMA-like decoder, checked and in our words: nothing in it is guessed or quietly ignored. */
import { z } from 'zod';
import type { Checkpoint } from '../../src/core/checkpoint.ts';
import { LacunaError } from '../../src/core/errors.ts';
import type { ModelSpec } from '../../src/core/model.ts';
import { ACTIVATIONS, type Activation, type HiddenAct } from '../blocks/activation.ts';
import { badConfig, refuseAll, shown } from './issues.ts';
import { refusedFields } from './refused-fields.ts';
import { type RopeConfig, readRopeConfig } from './rope-config.ts';

/** What one architecture of the family says differently from the others. */
export interface Family {
  readonly modelType: string;
  readonly className: string;
  /** Values that Transformers' config class takes for fields that config.json does not have. */
  readonly defaults: Readonly<Record<string, unknown>>;
  /** Fields of other architectures that this one does not have. */
  readonly lacks: readonly string[];
}

export interface DecoderConfig {
  readonly spec: ModelSpec;
  readonly activation: Activation;
  readonly rmsNormEps: number;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  /** The head is the embedding, and the checkpoint has no tensor of its own for it. */
  readonly sharesHead: boolean;
  /** Tokens that a token sees, itself included; undefined = all before it. */
  readonly slidingWindow: number | undefined;
  readonly rope: RopeConfig;
}

/**
 * Largest sizes that are believed, each several times what any published LLaMA or Mistral has; beyond them a config is
 * damaged, and taking it at its word would allocate or loop for hours before the tensors' shapes give it away.
 */
const LIMITS = {
  layers: 1024, // Llama 3.1 405B: 126
  hidden: 131_072, // 405B: 16,384
  intermediate: 1_048_576, // 405B: 53,248
  vocabulary: 4_194_304, // Llama 3: 128,256; Gemma 3: 262,208
  heads: 4096, // 405B: 128
  headDim: 1024, // Gemma: 256
  positions: 4_194_304, // the longest fine-tune of Llama 3; its two rotary tables take 1 GiB each
} as const;

const size = (limit: number) => z.int().positive().max(limit);
const tokenId = z.int().nonnegative();

const bosToken = tokenId.nullish();
const eosTokens = z.union([tokenId, z.array(tokenId)]).nullish();

const schema = z.object({
  vocab_size: size(LIMITS.vocabulary),
  hidden_size: size(LIMITS.hidden),
  intermediate_size: size(LIMITS.intermediate),
  num_hidden_layers: size(LIMITS.layers),
  num_attention_heads: size(LIMITS.heads),
  num_key_value_heads: size(LIMITS.heads).nullish(),
  head_dim: size(LIMITS.headDim).nullish(),
  max_position_embeddings: size(LIMITS.positions),
  hidden_act: z.string().default('silu'),
  rms_norm_eps: z.number().positive().max(1).default(1e-6),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
  sliding_window: size(LIMITS.positions).nullish(),
  layer_types: z.array(z.string()).nullish(),
  bos_token_id: tokenId.nullable().default(1),
  eos_token_id: z
    .union([tokenId, z.array(tokenId)])
    .nullable()
    .default(2),
});

const generationSchema = z.object({ bos_token_id: bosToken, eos_token_id: eosTokens });

type Fields = z.infer<typeof schema>;

/**
 * The checkpoint's config as `family` reads it.
 *
 * Errors: `bad-file` for values of the wrong type, out of bounds or at odds with each other; `unsupported` for features
 * that are not built, all named.
 */
export function readDecoderConfig(checkpoint: Checkpoint, family: Family): DecoderConfig {
  const { config, path } = checkpoint;
  const given = { ...family.defaults, ...config };
  const parsed = schema.safeParse(given);
  if (!parsed.success) throw badConfig(path, parsed.error, given);
  const fields = parsed.data;
  refuseAll(
    path,
    [...refusedFields(config, family.lacks), ...layerTypeProblems(fields), ...activationProblems(fields)],
    'Give a checkpoint without these; a field that was left there by mistake can be removed from config.json.',
  );
  // Known by name: activationProblems has refused the others.
  const activation = ACTIVATIONS[fields.hidden_act as HiddenAct];
  const spec = { ...modelSpec(checkpoint, fields, family), hiddenAct: activation };
  return {
    spec,
    activation,
    rmsNormEps: fields.rms_norm_eps,
    attentionBias: fields.attention_bias,
    mlpBias: fields.mlp_bias,
    // With both in the file, Transformers reads the head's own tensor unless it equals the embedding: the same numbers.
    sharesHead: fields.tie_word_embeddings && !checkpoint.tensors.has('lm_head.weight'),
    slidingWindow: fields.sliding_window ?? undefined,
    rope: readRopeConfig(config, spec.contextLength, path),
  };
}

function modelSpec(checkpoint: Checkpoint, fields: Fields, family: Family): Omit<ModelSpec, 'hiddenAct'> {
  return {
    modelType: family.modelType,
    architecture: family.className,
    numHiddenLayers: fields.num_hidden_layers,
    hiddenSize: fields.hidden_size,
    intermediateSize: fields.intermediate_size,
    vocabSize: fields.vocab_size,
    ...heads(fields, checkpoint.path),
    contextLength: fields.max_position_embeddings,
    ...specialTokens(checkpoint, fields),
  };
}

/** Head counts and width, with Transformers' defaults; the relations between them that the operators need. */
function heads(fields: Fields, path: string): Pick<ModelSpec, 'numAttentionHeads' | 'numKeyValueHeads' | 'headDim'> {
  const { hidden_size: hidden, num_attention_heads: queries } = fields;
  const keys = fields.num_key_value_heads ?? queries;
  const headDim = fields.head_dim ?? hidden / queries;
  const problem =
    queries % keys !== 0
      ? `num_attention_heads ${queries} is no multiple of num_key_value_heads ${keys}`
      : !Number.isInteger(headDim)
        ? `hidden_size ${hidden} is no multiple of num_attention_heads ${queries}, and head_dim is not given`
        : headDim % 2 !== 0
          ? `heads are ${headDim} wide, and rotary positions turn pairs`
          : undefined;
  if (problem !== undefined)
    throw new LacunaError('bad-file', `config.json of ${path} is not valid: ${problem}`, {
      hint: 'Take the config.json that was published with the weights.',
    });
  return { numAttentionHeads: queries, numKeyValueHeads: keys, headDim };
}

/** generation_config.json goes first, as in Transformers' generate. */
function specialTokens({ generationConfig, path }: Checkpoint, fields: Fields) {
  const parsed = generationSchema.safeParse(generationConfig ?? {});
  if (!parsed.success) throw badConfig(path, parsed.error, generationConfig, 'generation_config');
  const eos = parsed.data.eos_token_id ?? fields.eos_token_id ?? [];
  return {
    bosTokenId: parsed.data.bos_token_id ?? fields.bos_token_id ?? undefined,
    eosTokenIds: typeof eos === 'number' ? [eos] : eos,
  };
}

/** Layers must all see what `sliding_window` says: alternating ones are another architecture. */
function layerTypeProblems({ layer_types: types, sliding_window: window }: Fields): string[] {
  const wanted = window === undefined || window === null ? 'full_attention' : 'sliding_attention';
  return (types ?? []).every((type) => type === wanted)
    ? []
    : [`layer_types = ${shown(types)}: layers of other kinds than ${wanted}`];
}

function activationProblems({ hidden_act: activation }: Fields): string[] {
  const names = Object.keys(ACTIVATIONS);
  return names.includes(activation) ? [] : [`hidden_act = ${shown(activation)}: not one of ${names.join(', ')}`];
}
