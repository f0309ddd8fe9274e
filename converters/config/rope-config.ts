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

export type RopeConfig =
  | { readonly kind: 'default'; readonly theta: number }
  | { readonly kind: 'linear'; readonly theta: number; readonly factor: number }
  | { readonly kind: 'dynamic'; readonly theta: number }
  | {
      readonly kind: 'llama3';
      readonly theta: number;
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      /** Positions of the first training, before the context was extended. */
      readonly originalMaxPositions: number;
    }
  | {
      readonly kind: 'yarn';
      readonly theta: number;
      readonly factor: number;
      /** The factor of cos and sin. */
      readonly attentionFactor: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly truncate: boolean;
      readonly originalMaxPositions: number;
    };

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

const SCHEMAS = {
  default: z.object(common),
  linear: z.object({ ...common, factor: positive }),
  llama3: z
    .object({ ...common, factor: positive, low_freq_factor: positive, high_freq_factor: positive })
    .refine((rope) => rope.high_freq_factor > rope.low_freq_factor, 'high_freq_factor must be above low_freq_factor'),
  dynamic: z.object({ ...common, factor: positive }),
  yarn: z.object({
    ...common,
    factor: positive.nullish(),
    attention_factor: positive.nullish(),
    beta_fast: z.number().nonnegative().nullish(),
    beta_slow: z.number().nonnegative().nullish(),
    mscale: z.number().nonnegative().nullish(),
    mscale_all_dim: z.number().nonnegative().nullish(),
    truncate: z.boolean().nullish(),
  }),
} as const satisfies Record<RopeConfig['kind'], z.ZodType>;

const ROPE_KINDS = Object.keys(SCHEMAS) as readonly RopeConfig['kind'][];

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
  return build(kind, maxPositions, (schema) => parseConfig(schema, rope, path, field));
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

function ropeKind(rope: Record<string, unknown>, field: string, path: string): RopeConfig['kind'] {
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
function refuseParameters(rope: Record<string, unknown>, kind: RopeConfig['kind'], field: string, path: string): void {
  const known = Object.keys(SCHEMAS[kind].shape);
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

type Parse = <T>(schema: z.ZodType<T>) => T;

function build(kind: RopeConfig['kind'], maxPositions: number, parse: Parse): RopeConfig {
  switch (kind) {
    case 'default':
    case 'dynamic':
      return { kind, theta: parse<{ rope_theta: number }>(SCHEMAS[kind]).rope_theta };
    case 'linear': {
      const rope = parse(SCHEMAS.linear);
      return { kind, theta: rope.rope_theta, factor: rope.factor };
    }
    case 'llama3': {
      const rope = parse(SCHEMAS.llama3);
      return {
        kind,
        theta: rope.rope_theta,
        factor: rope.factor,
        lowFreqFactor: rope.low_freq_factor,
        highFreqFactor: rope.high_freq_factor,
        originalMaxPositions: rope.original_max_position_embeddings,
      };
    }
    case 'yarn':
      return yarnConfig(parse(SCHEMAS.yarn), maxPositions);
  }
}

function yarnConfig(rope: z.infer<typeof SCHEMAS.yarn>, maxPositions: number): RopeConfig {
  const originalMaxPositions = rope.original_max_position_embeddings;
  const factor = rope.factor ?? maxPositions / originalMaxPositions;
  return {
    kind: 'yarn',
    theta: rope.rope_theta,
    factor,
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
