/**
 * The rotary part of a config, in the old style (`rope_theta` beside `rope_scaling`) and the new (`rope_parameters`).
 *
 * Defaults and precedence are those of Transformers. Kinds:
 * - default, linear, llama3, yarn: exact for all positions up to max_position_embeddings.
 * - dynamic: exact up to max_position_embeddings. Beyond, its base grows with the length, so the same text would mean
 *   different things fed at once and token by token. Longer inputs are refused at run time.
 */
import * as z from 'zod';
import { LacunaError } from '../../src/core/errors.ts';
import { parseConfig, refuseAll, shown } from './issues.ts';

/** The base of all rotary frequencies if a config names none. */
const DEFAULT_THETA = 10_000;

const positive = z.number().positive();
const positions = z.int().positive();
const theta = z.number().gt(1);

const topSchema = z.object({
  rope_theta: theta.nullish(),
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  rope_parameters: z.record(z.string(), z.unknown()).nullish(),
  original_max_position_embeddings: positions.nullish(),
});

/** Fields that any kind may have. `finetuned` is a note that YaRN's authors left in their configs. */
const common = {
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: theta,
  partial_rotary_factor: z.number().nullish(),
  original_max_position_embeddings: positions,
  finetuned: z.boolean().optional(),
};

const FIELDS = {
  default: common,
  linear: { ...common, factor: positive },
  llama3: { ...common, factor: positive, low_freq_factor: positive, high_freq_factor: positive },
  dynamic: { ...common, factor: positive },
  yarn: {
    ...common,
    factor: positive.nullish(),
    attention_factor: positive.nullish(),
    beta_fast: z.number().nonnegative().nullish(),
    beta_slow: z.number().nonnegative().nullish(),
    mscale: z.number().nonnegative().nullish(),
    mscale_all_dim: z.number().nonnegative().nullish(),
    truncate: z.boolean().nullish(),
  },
} as const;

type RopeKind = keyof typeof FIELDS;

const ROPE_KINDS = Object.keys(FIELDS) as readonly RopeKind[];

/** The parameters as a kind computes with them, in a model of `maxPositions`. */
function schemasFor(maxPositions: number) {
  return {
    default: z.object(FIELDS.default).transform(({ rope_theta: theta }) => ({ kind: 'default' as const, theta })),
    linear: z
      .object(FIELDS.linear)
      .transform(({ rope_theta: theta, factor }) => ({ kind: 'linear' as const, theta, factor })),
    llama3: z
      .object(FIELDS.llama3)
      .refine((rope) => rope.high_freq_factor > rope.low_freq_factor, 'high_freq_factor must be above low_freq_factor')
      .transform((rope) => ({
        kind: 'llama3' as const,
        theta: rope.rope_theta,
        factor: rope.factor,
        lowFreqFactor: rope.low_freq_factor,
        highFreqFactor: rope.high_freq_factor,
        /** Positions of the first training, before the context was extended. */
        originalMaxPositions: rope.original_max_position_embeddings,
      })),
    dynamic: z.object(FIELDS.dynamic).transform(({ rope_theta: theta }) => ({ kind: 'dynamic' as const, theta })),
    yarn: z.object(FIELDS.yarn).transform((rope) => yarnConfig(rope, maxPositions)),
  };
}

export type RopeConfig = Readonly<z.output<ReturnType<typeof schemasFor>[RopeKind]>>;

/**
 * The rotary configuration of the checkpoint at `path`. `newField` is what errors call `rope_parameters`. Throws
 * `unsupported` for a kind or a parameter that is not supported; `bad-file` for wrong values.
 */
export function readRopeConfig(
  config: object,
  maxPositions: number,
  path: string,
  newField = 'rope_parameters',
): RopeConfig {
  const top = parseConfig(topSchema, config, path);
  const [field, given] = ropeRecord(top, path, newField);
  const kind = ropeKind(given, field, path);
  refuseParameters(given, kind, field, path);
  const original = top.original_max_position_embeddings ?? given.original_max_position_embeddings ?? maxPositions;
  const rope = {
    ...given,
    rope_theta: given.rope_theta ?? top.rope_theta ?? DEFAULT_THETA,
    original_max_position_embeddings: original,
  };
  return parseConfig<RopeConfig>(schemasFor(maxPositions)[kind], rope, path, field);
}

/** The style that the config uses, with its name. */
function ropeRecord(
  top: z.infer<typeof topSchema>,
  path: string,
  newField: string,
): readonly [string, Record<string, unknown>] {
  const { rope_scaling: old, rope_parameters: current } = top;
  if (old && current && JSON.stringify(old) !== JSON.stringify(current))
    throw new LacunaError(
      'bad-file',
      `config.json of ${path} has rope_scaling ${shown(old)} and ${newField} ${shown(current)}, which differ`,
      { hint: 'Remove the one that does not belong to the weights.' },
    );
  return old ? ['rope_scaling', old] : [newField, current ?? {}];
}

function ropeKind(rope: Record<string, unknown>, field: string, path: string): RopeKind {
  const name = rope.rope_type ?? rope.type ?? 'default';
  const kind = ROPE_KINDS.find((known) => known === name);
  if (kind !== undefined) return kind;
  throw new LacunaError(
    'unsupported',
    `config.json of ${path}: ${field} is of type ${shown(name)}, which is not built`,
    { hint: `Types that are built: ${ROPE_KINDS.join(', ')}.` },
  );
}

/** A parameter that this kind does not have may change the angles, so it is refused. */
function refuseParameters(rope: Record<string, unknown>, kind: RopeKind, field: string, path: string): void {
  const known = Object.keys(FIELDS[kind]);
  const unknown = Object.keys(rope).filter((key) => !known.includes(key));
  const partial = rope.partial_rotary_factor ?? 1;
  refuseAll(
    path,
    [
      ...unknown.map((key) => `${field}.${key} = ${shown(rope[key])}: not a parameter of "${kind}" positions`),
      ...(partial === 1 ? [] : [`${field}.partial_rotary_factor = ${shown(partial)}: positions on part of each head`]),
    ],
    `Parameters of "${kind}" positions: ${known.join(', ')}.`,
  );
}

type YarnFields = z.output<z.ZodObject<typeof FIELDS.yarn>>;

function yarnConfig(rope: YarnFields, maxPositions: number) {
  const originalMaxPositions = rope.original_max_position_embeddings;
  const factor = rope.factor ?? maxPositions / originalMaxPositions;
  return {
    kind: 'yarn' as const,
    theta: rope.rope_theta,
    factor,
    /** The factor of cos and sin. */
    attentionFactor: rope.attention_factor ?? yarnAttentionFactor(factor, rope.mscale, rope.mscale_all_dim),
    // Zero counts as absent, as in Transformers.
    betaFast: rope.beta_fast || 32,
    betaSlow: rope.beta_slow || 1,
    // Null means no, as in Transformers. Only a missing field means yes.
    truncate: rope.truncate === undefined || rope.truncate === true,
    originalMaxPositions,
  };
}

/** YaRN, section 3.4: sqrt(1/t) = 0.1 ln(factor) + 1. If both scales are given, DeepSeek's ratio of two such terms. */
function yarnAttentionFactor(factor: number, mscale: number | null | undefined, allDim: number | null | undefined) {
  const scale = (multiplier: number) => (factor <= 1 ? 1 : 0.1 * multiplier * Math.log(factor) + 1);
  return mscale && allDim ? scale(mscale) / scale(allDim) : scale(1);
}
