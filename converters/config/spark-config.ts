/** What config.json of a Spark Transformer says beyond other decoders: how many neurons and keys are left, and by what. */
import * as z from 'zod';
import type { JsonObject } from '../../src/core/json.ts';
import { normalQuantile } from '../../src/core/normal-quantile.ts';
import type { DecoderConfig, FewKeys } from './decoder-config.ts';
import { contradiction, parseConfig } from './issues.ts';

/** `<part>_predictor_size` is r of the paper, the other k. FFN and attention each have both fields or none. */
export const SPARK_FIELDS = [
  'ffn_predictor_size',
  'ffn_active_neurons',
  'attention_predictor_size',
  'attended_tokens',
] as const;

type Field = (typeof SPARK_FIELDS)[number];

const number = z.int().nullish();
const schema = z.object(
  Object.fromEntries(SPARK_FIELDS.map((field) => [field, number])) as Record<Field, typeof number>,
);

/** The config with what these fields say. Throws `bad-file` where they are missing or contradict the others. */
export function withSparkFields(base: DecoderConfig, config: JsonObject, path: string): DecoderConfig {
  const fields = parseConfig(schema, config, path);
  const ffn = bothOf(fields, 'ffn_predictor_size', 'ffn_active_neurons', path);
  const attention = bothOf(fields, 'attention_predictor_size', 'attended_tokens', path);
  if (ffn === undefined && attention === undefined)
    throw contradiction(path, `a Spark Transformer has at least one of ${SPARK_FIELDS[0]} and ${SPARK_FIELDS[2]}`);
  return {
    ...base,
    ...(ffn && ffnFields(base, ffn, path)),
    ...(attention && { fewKeys: fewKeys(base, attention, path) }),
  };
}

type Pair = readonly [r: number, k: number];

function bothOf(fields: z.infer<typeof schema>, size: Field, count: Field, path: string): Pair | undefined {
  const [r, k] = [fields[size] ?? undefined, fields[count] ?? undefined];
  if (r === undefined && k === undefined) return undefined;
  if (r !== undefined && k !== undefined) return [r, k];
  const [there, missing] = r === undefined ? [count, size] : [size, count];
  throw contradiction(path, `it has ${there} and no ${missing}; the two belong together`);
}

/** About k of an FFN's d_ff gates are left: those above mean + deviation * Q(1 - k / d_ff). */
function ffnFields({ spec, layers }: DecoderConfig, [r, k]: Pair, path: string): Partial<DecoderConfig> {
  const { hiddenSize, intermediateSize } = spec;
  expectRange('ffn_predictor_size', r, 1, hiddenSize - 1, `hidden_size is ${hiddenSize}`, path);
  expectRange('ffn_active_neurons', k, 1, intermediateSize - 1, `intermediate_size is ${intermediateSize}`, path);
  const gateQuantile = Math.fround(normalQuantile(1 - k / intermediateSize));
  return {
    gateInputs: r,
    spec: { ...spec, gateInputs: r },
    layers: layers.map((layer) => ({ ...layer, gateQuantile })),
  };
}

function fewKeys({ spec }: DecoderConfig, [r, k]: Pair, path: string): FewKeys {
  const { headDim, contextLength } = spec;
  expectRange('attention_predictor_size', r, 1, headDim - 1, `heads are ${headDim} wide`, path);
  expectRange('attended_tokens', k, 1, contextLength, `max_position_embeddings is ${contextLength}`, path);
  if (r % 2 !== 0)
    throw contradiction(path, `attention_predictor_size is ${r}, and rotary positions turn pairs of its entries`);
  return { predictorSize: r, attendedTokens: k };
}

function expectRange(field: Field, value: number, least: number, most: number, why: string, path: string): void {
  if (value < least || value > most)
    throw contradiction(path, `${field} is ${value}, wanted ${least} to ${most}: ${why}`);
}
