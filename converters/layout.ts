/** What a config says beyond sizes: how layers attend, positions, and how many weights are in each part. */
import { elementCount } from '../src/core/dtype.ts';
import { sumBy } from '../src/core/figures.ts';
import type { DecoderConfig } from './config/decoder-config.ts';
import type { ExpectedTensor } from './weights.ts';

/** Parts of a model that weights belong to, in the order of a table. */
export const WEIGHT_KINDS = ['embedding', 'attention', 'ffn', 'norms', 'head', 'other'] as const;

export type WeightKind = (typeof WEIGHT_KINDS)[number];

export interface ModelLayout extends Pick<DecoderConfig, 'activation' | 'layers' | 'ropes' | 'sharesHead'> {
  readonly parameters: Readonly<Record<WeightKind, number>>;
}

export function layoutOf(
  { activation, layers, ropes, sharesHead }: DecoderConfig,
  tensors: readonly ExpectedTensor[],
): ModelLayout {
  const counted = tensors.map(({ name, shape }) => [weightKind(name), elementCount(shape)] as const);
  return { activation, layers, ropes, sharesHead, parameters: sumByKind(counted) };
}

/** The part of a weight, by its name in a checkpoint or in a graph made from one. */
export function weightKind(name: string): WeightKind {
  if (/norm(\.|$)/.test(name)) return 'norms';
  if (name.includes('embed_tokens')) return 'embedding';
  if (name.includes('lm_head')) return 'head';
  if (name.includes('.self_attn.')) return 'attention';
  // Rewrites put `.ffn.` into the names of what they make from an FFN's weights.
  return name.includes('.mlp.') || name.includes('.ffn.') ? 'ffn' : 'other';
}

export function sumByKind(counted: Iterable<readonly [WeightKind, number]>): Record<WeightKind, number> {
  return {
    ...(Object.fromEntries(WEIGHT_KINDS.map((kind) => [kind, 0])) as Record<WeightKind, number>),
    ...sumBy(counted),
  };
}
