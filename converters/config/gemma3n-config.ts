/** config.json of a Gemma 3n text model: what it says beyond other decoders, layer by layer. */
import * as z from 'zod';
import type { Checkpoint } from '../../src/core/checkpoint.ts';
import { LacunaError } from '../../src/core/errors.ts';
import { attempt } from '../../src/core/problems.ts';
import { trainedQuantile } from '../blocks/gate-cut.ts';
import {
  type DecoderConfig,
  type DecoderConfigSurvey,
  type Family,
  type LayerConfig,
  surveyDecoderConfig,
} from './decoder-config.ts';
import { AS_PUBLISHED, badConfig, contradiction } from './issues.ts';

export interface Gemma3nConfig extends DecoderConfig {
  /** How many residual streams there are, and which of them layers compute. */
  readonly streams: number;
  readonly activeStream: number;
  /** The active stream is scaled before a layer's part of the second embedding is added. */
  readonly scalesCorrected: boolean;
  readonly laurelRank: number;
  /** Entries of a layer's part of the second embedding, and rows of its table. */
  readonly perLayerSize: number;
  readonly perLayerVocabulary: number;
}

/** Each several times that of the published models, which have 4 streams, rank 64, and 256 entries a layer. */
const LIMITS = { streams: 16, rank: 16_384, perLayer: 16_384, vocabulary: 4_194_304, intermediate: 1_048_576 } as const;

const size = (limit: number) => z.int().positive().max(limit);

const schema = z.object({
  intermediate_size: z.union([size(LIMITS.intermediate), z.array(size(LIMITS.intermediate)).min(1)]),
  vocab_size_per_layer_input: size(LIMITS.vocabulary),
  hidden_size_per_layer_input: size(LIMITS.perLayer),
  altup_active_idx: z.int().nonnegative(),
  altup_correct_scale: z.boolean(),
  altup_num_inputs: z.int().min(2).max(LIMITS.streams),
  num_kv_shared_layers: z.int().nonnegative(),
  laurel_rank: size(LIMITS.rank),
  /** The share of gates that each layer cuts. */
  activation_sparsity_pattern: z.array(z.number()).nullish(),
});

type Fields = z.infer<typeof schema>;

/** What it says and everything that is wrong with it. Throws nothing. */
export function surveyGemma3nConfig(checkpoint: Checkpoint, family: Family): DecoderConfigSurvey<Gemma3nConfig> {
  const { config: given, path } = checkpoint;
  const withDefaults = { ...family.defaults, ...given };
  const parsed = schema.safeParse(withDefaults);
  const own: LacunaError[] = parsed.success ? [] : [badConfig(path, parsed.error, withDefaults)];
  const widest = parsed.success ? Math.max(...[parsed.data.intermediate_size].flat()) : 1;
  const base = surveyDecoderConfig({ ...checkpoint, config: { ...given, intermediate_size: widest } }, family);
  if (!parsed.success || base.config === undefined) return { config: undefined, problems: [...own, ...base.problems] };
  const config = attempt(own, () => gemma3nConfig(base.config as DecoderConfig, parsed.data, path));
  return { config, problems: [...own, ...base.problems] };
}

function gemma3nConfig(base: DecoderConfig, fields: Fields, path: string): Gemma3nConfig {
  const { altup_active_idx: activeStream, altup_num_inputs: streams, num_kv_shared_layers: shared } = fields;
  const { spec } = base;
  const count = spec.numHiddenLayers;
  if (activeStream >= streams)
    throw contradiction(path, `altup_active_idx is ${activeStream}, altup_num_inputs ${streams}: counted from 0`);
  const sizes = byLayer('intermediate_size', fields.intermediate_size, count, path);
  const differ = new Set(sizes).size > 1;
  const owners = count - shared;
  return {
    ...base,
    spec: {
      ...spec,
      ...(differ && { intermediateSizes: sizes }),
      ...(shared > 0 && { cacheLayers: owners }),
    },
    // Heads are normed, and scores are not scaled further.
    attentionScale: 1,
    layers: withSharedCaches(base.layers, owners, path).map((layer, index) => ({
      ...layer,
      ...cutOf(sparsities(fields, count, path)[index], index, path),
    })),
    streams,
    activeStream,
    scalesCorrected: fields.altup_correct_scale,
    laurelRank: fields.laurel_rank,
    perLayerSize: fields.hidden_size_per_layer_input,
    perLayerVocabulary: fields.vocab_size_per_layer_input,
  };
}

/** A number for each layer, where one may stand for all. */
function byLayer(field: string, given: number | readonly number[], count: number, path: string): readonly number[] {
  if (typeof given === 'number') return Array<number>(count).fill(given);
  if (given.length === count) return given;
  throw contradiction(path, `${field} has ${given.length} numbers, num_hidden_layers is ${count}`);
}

/** Without a pattern, ten layers of a model that has more of them cut 95 %. */
function sparsities({ activation_sparsity_pattern: pattern }: Fields, count: number, path: string): readonly number[] {
  const usual = Array.from({ length: count }, (_, layer) => (count > 10 && layer < 10 ? 0.95 : 0));
  return byLayer('activation_sparsity_pattern', pattern ?? usual, count, path);
}

/** Of k neurons that a share leaves, there must be some, and no more than there are neurons. */
function cutOf(sparsity: number, layer: number, path: string): Pick<LayerConfig, 'gateQuantile'> {
  if (sparsity === 0) return {};
  const quantile = sparsity > 0 && sparsity < 1 ? trainedQuantile(sparsity) : Infinity;
  if (Number.isFinite(quantile)) return { gateQuantile: quantile };
  const kept = sparsity < 0 ? 'more neurons than there are' : 'no neuron';
  throw new LacunaError(
    'bad-file',
    `config.json of ${path} is not valid: activation_sparsity_pattern[${layer}] = ${sparsity} leaves ${kept}, ` +
      'wanted a share from 0 to below 1',
    { hint: AS_PUBLISHED },
  );
}

/** The last layers read the cache of the last layer of their kind before them. */
function withSharedCaches(layers: readonly LayerConfig[], owners: number, path: string): LayerConfig[] {
  const isAlike = (a: LayerConfig, b: LayerConfig) =>
    (a.slidingWindow === undefined) === (b.slidingWindow === undefined);
  return layers.map((layer, index) => {
    if (index < owners) return layer;
    const cacheOf = layers.slice(0, Math.max(owners, 0)).findLastIndex((one) => isAlike(one, layer));
    if (cacheOf >= 0) return { ...layer, cacheOf };
    throw contradiction(
      path,
      `num_kv_shared_layers is ${layers.length - owners} of ${layers.length} layers, and no layer before these attends ` +
        `to ${layer.slidingWindow === undefined ? 'all tokens' : 'a window'} as layer ${index} does`,
    );
  });
}
