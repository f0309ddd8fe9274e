/** adapter_config.json of a LoRA adapter as PEFT saves it: the scales of the products, and what is unsupported. */
import * as z from 'zod';
import { LacunaError } from '../../src/core/errors.ts';
import type { JsonObject } from '../../src/core/json.ts';

const pattern = z.record(z.string(), z.number().positive()).nullish();

type Patterns = z.infer<typeof pattern>;

const schema = z.object({
  peft_type: z.literal('LORA'),
  r: z.int().positive(),
  lora_alpha: z.number(),
  use_rslora: z.boolean().nullish(),
  rank_pattern: pattern,
  alpha_pattern: pattern,
});

export interface LoraConfig {
  /** The factor of the product of a module's two matrices of the given rank. */
  readonly scaleOf: (module: string, rank: number) => number;
  readonly rankOf: (module: string) => number;
}

const off = (value: unknown) => value === undefined || value === null || value === false;
const empty = (value: unknown) => off(value) || (typeof value === 'object' && Object.keys(value ?? {}).length === 0);
/** Ways to begin training that leave the base model unchanged. Others change weights that are not in the adapter. */
const plainStart = (value: unknown) =>
  off(value) || value === true || ['gaussian', 'eva', 'orthogonal'].includes(String(value));

/** PEFT reads the keys of patterns as regular expressions. Lacuna supports plain names, in which a dot is a dot. */
const byName = (value: unknown) =>
  empty(value) || (typeof value === 'object' && Object.keys(value ?? {}).every((key) => /^\^?[\w.-]+$/.test(key)));

/** Fields that change what an adapter computes beyond a product added to a matrix. Any other value is refused. */
const NEUTRAL: Readonly<Record<string, (value: unknown) => boolean>> = {
  fan_in_fan_out: off,
  bias: (value) => off(value) || value === 'none',
  lora_bias: off,
  use_dora: off,
  use_qalora: off,
  use_bdlora: off,
  modules_to_save: empty,
  layer_replication: empty,
  trainable_token_indices: empty,
  target_parameters: empty,
  alora_invocation_tokens: empty,
  init_lora_weights: plainStart,
  rank_pattern: byName,
  alpha_pattern: byName,
};

/** Fields that only say how training began or ran. */
const IDLE_CONFIGS = ['eva_config', 'megatron_config'];

/** Fields that ask for what is not built. A variant of LoRA that is newer than this brings a config of its own. */
function refusedFields(config: JsonObject): string[] {
  const named = Object.keys(NEUTRAL).filter((field) => !NEUTRAL[field](config[field]));
  const variants = Object.keys(config).filter((field) => field.endsWith('_config') && !IDLE_CONFIGS.includes(field));
  return [...named, ...variants.filter((field) => !empty(config[field]))];
}

/** Reads the config of the adapter at `path`; 'bad-file' or 'unsupported', naming all fields concerned. */
export function readLoraConfig(config: JsonObject, path: string): LoraConfig {
  if (config.peft_type !== 'LORA')
    throw unsupportedAdapter(`${path} is an adapter of type ${JSON.stringify(config.peft_type)}`);
  const refused = refusedFields(config);
  const shown = refused.map((field) => `${field} = ${JSON.stringify(config[field])}`).join(', ');
  if (refused.length > 0) throw unsupportedAdapter(`${path} asks for what is not built: ${shown}`);
  const parsed = schema.safeParse(config);
  if (!parsed.success)
    throw new LacunaError(
      'bad-file',
      `adapter_config.json of ${path} is not valid:\n${z.prettifyError(parsed.error)}`,
      { hint: 'Take the adapter_config.json that was saved with the adapter.' },
    );
  return scales(parsed.data);
}

export function unsupportedAdapter(message: string): LacunaError {
  return new LacunaError('unsupported', message, {
    hint: 'Merge it into its model in Python: model.merge_and_unload().save_pretrained(DIR).',
  });
}

/** alpha / r (Hu et al., LoRA, section 4.1), or alpha / sqrt(r) (Kalajdzievski, rsLoRA, theorem 3.2). */
function scales(config: z.infer<typeof schema>): LoraConfig {
  const { r, lora_alpha: alpha, use_rslora: rankStabilised, rank_pattern: ranks, alpha_pattern: alphas } = config;
  return {
    rankOf: (module) => matching(ranks, module) ?? r,
    scaleOf: (module, rank) => (matching(alphas, module) ?? alpha) / (rankStabilised ? Math.sqrt(rank) : rank),
  };
}

/** As in PEFT: the first key that equals the module's name or its end after a dot. With ^ it must be the whole name. */
function matching(patterns: Patterns, module: string): number | undefined {
  const found = Object.entries(patterns ?? {}).find(([key]) =>
    key.startsWith('^') ? module === key.slice(1) : module === key || module.endsWith(`.${key}`),
  );
  return found?.[1];
}
