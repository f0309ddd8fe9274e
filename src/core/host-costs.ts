/** What decoding costs on a host: a few times, by how weights are stored. Fitted to measurements, read by plans. */
import * as z from 'zod';
import { HOST_KINDS } from './host-kind.ts';
import { PRECISIONS, type PrecisionName } from './precision.ts';

/**
 * Each in seconds: of one of what `of` says. Shared ones do not depend on how a layer's matrices are stored, as long as the
 * embedding is stored alike.
 */
export const COSTS = [
  { name: 'step', of: 'a step, beside its layers and the output head’s product', per: 'each', isShared: true },
  { name: 'head', of: 'a byte of the output head', per: 'byte', isShared: true },
  { name: 'layer', of: 'a layer, beside its FFN block and its products', per: 'each', isShared: true },
  { name: 'product', of: 'a byte of a matrix of a layer that is multiplied whole', per: 'byte', isShared: false },
  { name: 'cache', of: 'a byte of keys and values', per: 'byte', isShared: true },
  { name: 'block', of: 'an FFN block, beside its products', per: 'each', isShared: true },
  { name: 'choose', of: 'choosing neurons of a block', per: 'each', isShared: false },
  { name: 'scan', of: 'a byte of a block that chooses, where it is read of all neurons', per: 'byte', isShared: false },
  { name: 'gather', of: 'finding the chosen rows of a block, where a body gathers them', per: 'each', isShared: false },
  { name: 'row', of: 'a byte of such rows', per: 'byte', isShared: false },
  { name: 'test', of: 'a block that may be skipped, for a token that runs it', per: 'each', isShared: false },
  { name: 'skipped', of: 'the same, for a token that skips it', per: 'each', isShared: false },
] as const;

export type CostName = (typeof COSTS)[number]['name'];

/** By name. */
export type StorageCosts = Readonly<Record<CostName, number>>;

/** How often something costs what: a time is the sum of terms times costs. */
export type Terms = Readonly<Partial<Record<CostName, number>>>;

const seconds = z.number().nonnegative();
const storageCosts = z.strictObject(
  Object.fromEntries(COSTS.map(({ name }) => [name, seconds])) as Record<CostName, typeof seconds>,
);

export const COSTS_FORMAT = 'lacuna.costs';
export const COSTS_VERSION = 1;

/** Everything that decides the costs of a host. Costs with another key are of another host. */
export const costsKeySchema = z.strictObject({
  host: z.enum(HOST_KINDS),
  /** The processor's name, as the system gives it. */
  processor: z.string(),
  threads: z.int().positive(),
  /** Version of ONNX Runtime. */
  onnxruntime: z.string(),
  lacuna: z.string(),
  /** Version of the operators that the native core has kernels for; null for stock ONNX Runtime. */
  operatorSet: z.int().positive().nullable(),
});

export type CostsKey = Readonly<z.infer<typeof costsKeySchema>>;

export const hostCostsSchema = z.strictObject({
  format: z.literal(COSTS_FORMAT),
  version: z.literal(COSTS_VERSION),
  key: costsKeySchema,
  /** By the name of the precision. */
  precisions: z.record(z.string(), storageCosts),
});

export interface HostCosts extends Readonly<z.infer<typeof hostCostsSchema>> {}

/** The time of `terms`, in seconds. */
export function timeOf(costs: StorageCosts, terms: Terms): number {
  return COSTS.reduce((sum, { name }) => sum + costs[name] * (terms[name] ?? 0), 0);
}

export function addTerms(...parts: readonly Terms[]): Terms {
  const sums: Partial<Record<CostName, number>> = {};
  for (const part of parts)
    for (const { name } of COSTS) if (part[name] !== undefined) sums[name] = (sums[name] ?? 0) + part[name];
  return sums;
}

export function timesTerms(factor: number, terms: Terms): Terms {
  return Object.fromEntries(Object.entries(terms).map(([name, count]) => [name, factor * count]));
}

/**
 * The costs of a precision: its own, or those of the nearest larger one that has some, since costs of bytes are alike
 * in neighbours. Undefined for the floats of GPUs, and where no precision before it has any.
 */
export function costsOf({ precisions }: Pick<HostCosts, 'precisions'>, dtype: PrecisionName): StorageCosts | undefined {
  const at = PRECISIONS.findIndex(({ name }) => name === dtype);
  if (PRECISIONS[at].floats === 'float16') return undefined;
  const known = PRECISIONS.slice(0, at + 1).findLast(({ name }) => Object.hasOwn(precisions, name));
  return known && precisions[known.name];
}
