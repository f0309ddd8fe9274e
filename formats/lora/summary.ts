/** What an adapter's folder holds, whether it can be merged or not. */
import { join } from 'node:path';
import { byteLength, elementCount } from '../../src/core/dtype.ts';
import type { LacunaError } from '../../src/core/errors.ts';
import { sumBy } from '../../src/core/figures.ts';
import { attempt } from '../../src/core/problems.ts';
import { readJsonObject } from '../json-file.ts';
import { readSafetensors } from '../safetensors/index.ts';
import { readLoraConfig } from './config.ts';

/** The files of an adapter as PEFT saves it. */
export const ADAPTER_CONFIG = 'adapter_config.json';
export const ADAPTER_WEIGHTS = 'adapter_model.safetensors';

/** Some hundred names at most. */
export const MAX_CONFIG_BYTES = 16 << 20;

export interface AdapterSummary {
  readonly type: string;
  /** The base model's name, as its config has it. */
  readonly baseModel: string | undefined;
  readonly rank: number | undefined;
  readonly alpha: number | undefined;
  readonly rankStabilised: boolean;
  /** Matrices of the base model that it changes, by the last part of their names. */
  readonly modules: Readonly<Record<string, number>>;
  readonly tensors: number;
  readonly parameters: number;
  readonly bytesByDtype: Readonly<Record<string, number>>;
  /** Why it cannot be merged, as far as its own files show. */
  readonly problem: string | undefined;
}

/** Reads only headers. Throws as `readSafetensors` does, and 'bad-file' if the config is not a JSON object. */
export async function summariseAdapter(path: string): Promise<AdapterSummary> {
  const { value: config } = await readJsonObject(join(path, ADAPTER_CONFIG), MAX_CONFIG_BYTES);
  const { tensors } = await readSafetensors(join(path, ADAPTER_WEIGHTS));
  const all = [...tensors.values()];
  const number = (value: unknown) => (typeof value === 'number' ? value : undefined);
  return {
    type: String(config.peft_type),
    baseModel: typeof config.base_model_name_or_path === 'string' ? config.base_model_name_or_path : undefined,
    rank: number(config.r),
    alpha: number(config.lora_alpha),
    rankStabilised: config.use_rslora === true,
    modules: sumBy(
      all.flatMap(({ name }) => /([^.]+)\.lora_A\.weight$/.exec(name)?.[1] ?? []).map((name) => [name, 1]),
    ),
    tensors: all.length,
    parameters: all.reduce((sum, { shape }) => sum + elementCount(shape), 0),
    bytesByDtype: sumBy(all.map(({ dtype, shape }) => [dtype, byteLength(dtype, shape)])),
    problem: problemOf(config, path),
  };
}

function problemOf(config: Readonly<Record<string, unknown>>, path: string): string | undefined {
  const problems: LacunaError[] = [];
  attempt(problems, () => readLoraConfig(config, path));
  return problems[0]?.message;
}
