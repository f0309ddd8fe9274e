/** config.json of a LLaMA- or Gemma-like decoder, checked and converted. Nothing is guessed or ignored silently. */
import * as z from 'zod';
import type { Checkpoint } from '../../src/core/checkpoint.ts';
import type { LacunaError } from '../../src/core/errors.ts';
import type { JsonObject } from '../../src/core/json.ts';
import type { ModelSpec } from '../../src/core/model.ts';
import { attempt } from '../../src/core/problems.ts';
import { ACTIVATIONS, type Activation, THRESHOLDED } from '../blocks/activation.ts';
import type { Biased, ReadBiases } from './biases.ts';
import { badConfig, contradiction, parseConfig, refuseAll, shown } from './issues.ts';
import { type LayerKind, layerKindProblems, layerKinds, type ReadLayers } from './layer-kinds.ts';
import { type FieldRules, refusedFields } from './refused-fields.ts';
import { type RopeConfig, readRopeConfig } from './rope-config.ts';

/** The differences of one architecture from the others of the family. */
export interface Family extends FieldRules {
  readonly modelType: string;
  readonly className: string;
  /** Values that Transformers' config class takes for fields that config.json does not have. */
  readonly defaults: JsonObject;
  /** The field with the name of the activation. Default: `hidden_act`. */
  readonly activationField?: 'hidden_act' | 'hidden_activation';
  /** Names that mean another activation here than elsewhere. */
  readonly activations?: Readonly<Record<string, Activation>>;
  /** Activations may have a threshold, `hidden_act_param`. */
  readonly thresholds?: boolean;
  /** Layers are of two kinds; by default all are alike. */
  readonly layers?: ReadLayers;
  /** Rotary positions by kind of layer; by default one for all, called `rotary`. */
  readonly ropes?: ReadRopes;
  /** Linear layers that have biases; none by default. */
  readonly biases?: ReadBiases;
  readonly traits?: Partial<Traits>;
  /** Reads fields that only this architecture has. Throws `bad-file` for those that are wrong. */
  readonly further?: (base: DecoderConfig, config: JsonObject, path: string) => DecoderConfig;
}

/** How an architecture's blocks differ from LLaMA's. None of it is in config.json. */
export interface Traits {
  /** Norms multiply by 1 + weight. */
  readonly addsOneToNorms: boolean;
  /** Embeddings are multiplied by sqrt(hidden_size). */
  readonly scalesEmbeddings: boolean;
  /** Each head of queries and keys is normed, before positions are applied. */
  readonly normsHeads: boolean;
  /** Each head of values is normed too, without weights. */
  readonly normsValues: boolean;
  /** The results of attention and FFN are normed before they are added. */
  readonly normsOutputs: boolean;
  /** The FFN activates up as it does the gate (dReLU, where that is relu). */
  readonly activatesUp: boolean;
}

/** A rotary configuration and the name of its tables in graphs. */
export interface NamedRope {
  readonly name: string;
  readonly rope: RopeConfig;
}

export type ReadRopes = (
  config: JsonObject,
  maxPositions: number,
  path: string,
) => Readonly<Record<LayerKind, NamedRope>>;

/** How one layer attends. */
export interface LayerConfig {
  /** Tokens that a token sees, itself included; undefined = all earlier ones. */
  readonly slidingWindow: number | undefined;
  /** Name of its rotary tables. */
  readonly rope: string;
  /** The layer whose keys and values it reads; undefined = it has its own. */
  readonly cacheOf?: number | undefined;
  /** Gates below mean + deviation * this are 0, and the others are less by that: what the model was trained with. */
  readonly gateQuantile?: number | undefined;
}

/** Attention to the keys whose scores are the largest, by the first entries of each head (Spark Transformer). */
export interface FewKeys {
  /** Entries of a head that score keys. The others weigh what is attended to. */
  readonly predictorSize: number;
  /** About as many keys are left, where a token sees more. */
  readonly attendedTokens: number;
}

export interface DecoderConfig {
  readonly spec: ModelSpec;
  readonly activation: Activation;
  /** A float32 above 0: gates below are 0 after the activation, which is relu. */
  readonly activationThreshold?: number | undefined;
  readonly rmsNormEps: number;
  /** Linear layers that have biases. */
  readonly biases: ReadonlySet<Biased>;
  /** The head is the embedding, and the checkpoint has no tensor of its own for it. */
  readonly sharesHead: boolean;
  /** The factor of products of queries and keys. */
  readonly attentionScale: number;
  /** c, if c tanh(x / c) replaces a score x, after the scale. */
  readonly attentionSoftcap: number | undefined;
  /** The same for logits. */
  readonly logitSoftcap: number | undefined;
  readonly layers: readonly LayerConfig[];
  /** Rotary positions by the names that layers use. */
  readonly ropes: Readonly<Record<string, RopeConfig>>;
  readonly traits: Traits;
  /** Entries of the FFN's input that the gate reads, the first; up reads the others. undefined = both read all. */
  readonly gateInputs?: number | undefined;
  /** undefined = every key that a token sees. */
  readonly fewKeys?: FewKeys | undefined;
}

/**
 * The largest accepted sizes, each several times that of any published model. A config beyond them is damaged, and
 * believing it would allocate or loop for hours before the tensors' shapes reveal the fault.
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
/** Zero would divide by zero. Here, as elsewhere in these configs, it means "none". */
const softcap = z.number().nonnegative().nullish();

const eosTokens = z.union([tokenId, z.array(tokenId)]);
/** -1 in configs of the first LLaMA means "none". */
const padToken = z.int().nullish();

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
  hidden_activation: z.string().nullish(),
  hidden_act_param: z.number().nullish(),
  rms_norm_eps: z.number().positive().max(1).default(1e-6),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
  sliding_window: size(LIMITS.positions).nullish(),
  sliding_window_pattern: size(LIMITS.layers).nullish(),
  layer_types: z.array(z.string()).nullish(),
  query_pre_attn_scalar: z.number().positive().nullish(),
  attn_logit_softcapping: softcap,
  final_logit_softcapping: softcap,
  bos_token_id: tokenId.nullable().default(1),
  eos_token_id: eosTokens.nullable().default(2),
  pad_token_id: padToken,
});

const generationSchema = z.object({
  bos_token_id: tokenId.nullish(),
  eos_token_id: eosTokens.nullish(),
  pad_token_id: padToken,
});

type Fields = z.infer<typeof schema>;

/**
 * The checkpoint's config as `family` reads it. Throws `bad-file` for values of the wrong type, out of bounds or
 * contradicting each other; `unsupported` for features that are not built, all named.
 */
export function readDecoderConfig(checkpoint: Checkpoint, family: Family): DecoderConfig {
  return settledConfig(surveyDecoderConfig(checkpoint, family));
}

/** The config that was surveyed, if nothing is wrong with it; else its first problem is thrown. */
export function settledConfig<Config extends DecoderConfig>({ config, problems }: DecoderConfigSurvey<Config>): Config {
  if (config === undefined || problems.length > 0) throw problems[0];
  return config;
}

/** A config, as far as it can be read, and everything that is wrong with it. */
export interface DecoderConfigSurvey<Config extends DecoderConfig = DecoderConfig> {
  readonly config: Config | undefined;
  /** Throws as `readDecoderConfig` does. */
  readonly problems: readonly LacunaError[];
}

/** The same without stopping at the first fault. */
export function surveyDecoderConfig(checkpoint: Checkpoint, family: Family): DecoderConfigSurvey {
  const { config, path } = checkpoint;
  const given = { ...family.defaults, ...config };
  const parsed = schema.safeParse(given);
  const problems: LacunaError[] = [];
  if (!parsed.success) {
    problems.push(badConfig(path, parsed.error, given));
    attempt(problems, () => refuseAll(path, refusedFields(config, family), REFUSED_HINT));
    return { config: undefined, problems };
  }
  const fields = parsed.data;
  const layers = attempt(problems, () => family.layers?.(fields, given, path) ?? fields);
  const unknownKinds = layers === undefined ? [] : layerKindProblems(layers, family.layers === undefined);
  const refused = [...refusedFields(config, family), ...unknownKinds, ...activationProblems(fields, family)];
  attempt(problems, () => refuseAll(path, refused, REFUSED_HINT));
  const spec = attempt(problems, () => modelSpec(checkpoint, fields, family));
  const kinds =
    layers === undefined || unknownKinds.length > 0 ? undefined : attempt(problems, () => layerKinds(layers, path));
  const ropes = attempt(problems, () => (family.ropes ?? oneRope)(config, fields.max_position_embeddings, path));
  if (spec === undefined || layers === undefined || kinds === undefined || ropes === undefined)
    return { config: undefined, problems };
  const window = layers.sliding_window ?? undefined;
  const base = decoderConfig(checkpoint, { fields, family, spec, kinds, window, ropes });
  const { further = () => base } = family;
  return { config: attempt(problems, () => further(base, config, path)), problems };
}

const REFUSED_HINT =
  'Give a checkpoint without these; a field that was left there by mistake can be removed from config.json.';

/** All parts of a config, each checked on its own. */
interface ConfigParts {
  readonly fields: Fields;
  readonly family: Family;
  readonly spec: Omit<ModelSpec, 'hiddenAct'>;
  readonly kinds: readonly LayerKind[];
  /** Of layers that attend to one. */
  readonly window: number | undefined;
  readonly ropes: ReturnType<ReadRopes>;
}

function decoderConfig(
  checkpoint: Checkpoint,
  { fields, family, spec: parts, kinds, window, ropes }: ConfigParts,
): DecoderConfig {
  // Known by name, or refused.
  const activation = activationsOf(family)[activationName(fields, family) ?? ''];
  const activationThreshold = thresholdOf(fields, family) || undefined;
  const spec = { ...parts, hiddenAct: activationThreshold === undefined ? activation : 'fatrelu' };
  return {
    spec,
    activation,
    activationThreshold,
    rmsNormEps: fields.rms_norm_eps,
    biases: new Set(family.biases?.(fields)),
    // With both in the file, Transformers reads the head's own tensor unless it equals the embedding: the same numbers.
    sharesHead: fields.tie_word_embeddings && !checkpoint.tensors.has('lm_head.weight'),
    attentionScale: (fields.query_pre_attn_scalar ?? spec.headDim) ** -0.5,
    attentionSoftcap: fields.attn_logit_softcapping || undefined,
    logitSoftcap: fields.final_logit_softcapping || undefined,
    layers: kinds.map((kind) => ({
      slidingWindow: kind === 'sliding_attention' ? window : undefined,
      rope: ropes[kind].name,
    })),
    ropes: Object.fromEntries([...new Set(kinds)].map((kind) => [ropes[kind].name, ropes[kind].rope])),
    traits: { ...LLAMA_TRAITS, ...family.traits },
  };
}

const LLAMA_TRAITS: Traits = {
  addsOneToNorms: false,
  scalesEmbeddings: false,
  normsHeads: false,
  normsValues: false,
  normsOutputs: false,
  activatesUp: false,
};

const oneRope: ReadRopes = (config, maxPositions, path) => {
  const rope = { name: 'rotary', rope: readRopeConfig(config, maxPositions, path) };
  return { full_attention: rope, sliding_attention: rope };
};

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

/** Head counts and width, with Transformers' defaults, and the relations between them that the operators need. */
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
  if (problem !== undefined) throw contradiction(path, problem);
  return { numAttentionHeads: queries, numKeyValueHeads: keys, headDim };
}

/** generation_config.json comes first, as in Transformers' generate. */
function specialTokens({ generationConfig, path }: Checkpoint, fields: Fields) {
  const given = parseConfig(generationSchema, generationConfig ?? {}, path, 'generation_config');
  const eos = given.eos_token_id ?? fields.eos_token_id ?? [];
  const pad = given.pad_token_id ?? fields.pad_token_id ?? -1;
  return {
    bosTokenId: given.bos_token_id ?? fields.bos_token_id ?? undefined,
    eosTokenIds: typeof eos === 'number' ? [eos] : eos,
    ...(pad >= 0 && { padTokenId: pad }),
  };
}

function activationsOf({ activations = {}, thresholds = false }: Family): Readonly<Record<string, Activation>> {
  return { ...ACTIVATIONS, ...(thresholds ? THRESHOLDED : {}), ...activations };
}

/** As PyTorch compares with it: in float32. Below 0 it would let negative gates pass, which no activation of ours does. */
const threshold = z.number().nonnegative().transform(Math.fround).pipe(z.number());

/** The threshold of an activation that has one; null where it is none, undefined where it is not needed. */
function thresholdOf(fields: Fields, family: Family): number | null | undefined {
  const name = activationName(fields, family) ?? '';
  if (family.thresholds !== true || !Object.hasOwn(THRESHOLDED, name)) return undefined;
  return threshold.safeParse(fields.hidden_act_param).data ?? null;
}

function activationName(fields: Fields, { activationField = 'hidden_act' }: Family): string | undefined | null {
  return fields[activationField];
}

function activationProblems(fields: Fields, family: Family): string[] {
  const name = activationName(fields, family);
  const names = Object.keys(activationsOf(family));
  const field = family.activationField ?? 'hidden_act';
  if (!names.includes(name ?? '')) return [`${field} = ${shown(name)}: not one of ${names.join(', ')}`];
  if (thresholdOf(fields, family) !== null) return [];
  return [`hidden_act_param = ${shown(fields.hidden_act_param)}: "${name}" wants a threshold there, from 0 on`];
}
