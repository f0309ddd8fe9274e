/** LLaMA and Mistral in GGUF: query and key rows are reordered for rotary positions on neighbours. */
import * as z from 'zod';
import { LacunaError } from '../../../src/core/errors.ts';
import type { JsonObject } from '../../../src/core/json.ts';
import { regroupRows, type StoredTensor, type TensorExpr } from '../../../src/core/tensor.ts';
import { readFloats } from '../../../src/tensors/index.ts';
import { badGguf, unsupportedGguf } from '../cursor.ts';
import type { ConfigSource, GgufArchitecture, TensorRule } from './architecture.ts';
import { block, DECODER_KEYS, decoderConfig, linear, PLAIN_TENSORS, size } from './decoder.ts';

/**
 * Llama 3.1's position scaling: a divisor for each rotary frequency. GGUF holds these instead of the parameters, which
 * are found again by computing the divisors of the known ones.
 */
const ROPE_FACTORS = 'rope_freqs.weight';

const fields = z.object({
  ...DECODER_KEYS,
  'attention.head_count_kv': size.optional(),
  'attention.key_length': size.optional(),
  'attention.value_length': size.optional(),
  'attention.causal': z.literal(true).optional(),
  'rope.dimension_count': size.optional(),
  'rope.freq_base': z.number().positive().default(10_000),
  'rope.scaling.type': z.enum(['none', 'linear', 'yarn']).default('none'),
  'rope.scaling.original_context_length': size.optional(),
  'rope.scaling.finetuned': z.boolean().optional(),
  // What old files have in place of type and factor.
  'rope.scale_linear': z.number().positive().optional(),
  expert_count: z.literal(0).optional(),
  expert_used_count: z.literal(0).optional(),
  // A note of the converter ("Meta AI original pth"). The layout is always the same.
  tensor_data_layout: z.string().optional(),
});

type Fields = z.infer<typeof fields>;

function queryHeads(tensor: TensorExpr, { 'attention.head_count': heads }: Fields): TensorExpr {
  return halves(tensor, heads);
}

function keyHeads(tensor: TensorExpr, source: Fields): TensorExpr {
  return halves(tensor, source['attention.head_count_kv'] ?? source['attention.head_count']);
}

/** Rows of a head, from the pairs (0, d/2), (1, d/2 + 1), … back to two halves. */
function halves(tensor: TensorExpr, heads: number): TensorExpr {
  if (tensor.shape[0] % (2 * heads) === 0) return regroupRows(tensor, heads, 2);
  throw new LacunaError('mismatch', `Queries or keys have ${tensor.shape[0]} rows, which are not ${heads} even heads`, {
    hint: 'Get the file anew: its metadata and tensors do not belong together.',
  });
}

const tensors: readonly TensorRule<Fields>[] = [
  ...PLAIN_TENSORS,
  { pattern: block('attn_norm', 'weight'), name: 'model.layers.{0}.input_layernorm.weight' },
  ...linear('attn_q', 'self_attn.q_proj', queryHeads),
  ...linear('attn_k', 'self_attn.k_proj', keyHeads),
  { pattern: block('ffn_norm', 'weight'), name: 'model.layers.{0}.post_attention_layernorm.weight' },
  { pattern: /^output_norm\.weight$/, name: 'model.norm.weight' },
];

export const llama: GgufArchitecture<Fields> = { name: 'llama', fields, config, tensors, inConfig: [ROPE_FACTORS] };

async function config(source: ConfigSource<Fields>): Promise<JsonObject> {
  const { fields, tensors, path } = source;
  const headDim = headWidth(fields, path);
  return {
    ...decoderConfig(source),
    architectures: ['LlamaForCausalLM'],
    head_dim: headDim,
    hidden_act: 'silu',
    mlp_bias: tensors.has('blk.0.ffn_up.bias'),
    model_type: 'llama',
    num_key_value_heads: fields['attention.head_count_kv'] ?? fields['attention.head_count'],
    rope_scaling: await ropeScaling(source, headDim),
  };
}

/** The width of a head. Positions must turn all of it. */
function headWidth(fields: Fields, path: string): number {
  const width = fields['attention.key_length'] ?? fields.embedding_length / fields['attention.head_count'];
  const others = [fields['attention.value_length'], fields['rope.dimension_count']];
  if (Number.isInteger(width) && others.every((other) => other === undefined || other === width)) return width;
  throw badGguf(
    path,
    `keys are ${width} wide, values ${others[0] ?? width}, rotary positions ${others[1] ?? width}; all must be equal`,
  );
}

async function ropeScaling(
  { fields, tensors, path }: ConfigSource<Fields>,
  headDim: number,
): Promise<JsonObject | null> {
  const kind = fields['rope.scaling.type'];
  const factor = fields['rope.scaling.factor'] ?? fields['rope.scale_linear'];
  const factors = tensors.get(ROPE_FACTORS);
  if (factors !== undefined && kind === 'none')
    return llama3Scaling(factors, { theta: fields['rope.freq_base'], headDim, path });
  if (kind === 'none') return factor === undefined || factor === 1 ? null : { rope_type: 'linear', factor };
  if (factor === undefined || factors !== undefined)
    throw badGguf(path, `positions are scaled by "${kind}" ${factor === undefined ? 'without' : 'and by'} factors`);
  if (kind === 'linear') return { rope_type: 'linear', factor };
  const original = fields['rope.scaling.original_context_length'];
  return { rope_type: 'yarn', factor, ...(original && { original_max_position_embeddings: original }) };
}

/** The parameters of all Llama 3.1, 3.2 and 3.3 models. Only the factor differs (8 or 32). */
const KNOWN = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 } as const;

/**
 * Relative. Divisors are stored in float32; other programs computed them from frequencies rounded to float32. Between
 * the two wavelengths, an error of a frequency is amplified at most (high + factor * low) / (high - low) < 12-fold.
 */
const TOLERANCE = 12 * 2 ** -20;

/** `rope_scaling` of the config. Throws 'unsupported' when the divisors are not those of any Llama 3. */
async function llama3Scaling(
  tensor: StoredTensor,
  { theta, headDim, path }: { readonly theta: number; readonly headDim: number; readonly path: string },
): Promise<JsonObject> {
  const found = tensor.shape[0] === headDim / 2 ? await readFloats(tensor) : new Float32Array(0);
  const factor = Math.max(...found);
  const wanted = Array.from({ length: headDim / 2 }, (_, i) => divisor(theta ** ((2 * i) / headDim), factor));
  if (wanted.length === found.length && wanted.every((value, i) => Math.abs(found[i] / value - 1) <= TOLERANCE))
    return { rope_type: 'llama3', factor, ...KNOWN };
  throw unsupportedGguf(`${path}: its "${ROPE_FACTORS}" scales positions otherwise than Llama 3`);
}

/** The divisor of a frequency of 1 / `inverse` radians a token (Llama 3.1's reference code, `apply_scaling`). */
function divisor(inverse: number, factor: number): number {
  const { low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = KNOWN;
  const wavelength = 2 * Math.PI * inverse;
  if (wavelength < original / high) return 1;
  if (wavelength > original / low) return factor;
  const smooth = (original / wavelength - low) / (high - low);
  return 1 / ((1 - smooth) / factor + smooth);
}
