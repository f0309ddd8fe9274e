/**
 * Which precision each block is stored in, from what each costs: the least time within a loss. Losses and times of blocks
 * add up. For errors that are small and independent, KL divergences do: each is a square of its error.
 */
import { DTYPE_BYTES } from '../core/dtype.ts';
import { denseFfnBytes } from '../core/ffn-bytes.ts';
import { costsOf, type HostCosts, timeOf } from '../core/host-costs.ts';
import type { HostKind } from '../core/host-kind.ts';
import type { ModelIdentity } from '../core/model.ts';
import { type BlockPlan, PLAN_FORMAT, PLAN_VERSION, type Plan, partOfBlock } from '../core/plan.ts';
import { bytesPerWeight, type HostDtype, type Precision, precisionNamed } from '../core/precision.ts';
import type { TextIdentity } from '../core/statistics.ts';
import { attentionWeights, type StepShape, wholeBlockTerms } from './step.ts';

/** The name of the preset in plans that are made of measured losses, with a budget in place of a target. */
export const AUTO = 'auto';

/** One way to store a block. */
export interface BlockOption {
  readonly dtype: HostDtype;
  /** What it adds to the divergence from the floats, in nats a token. Measured, so chance may make it negative. */
  readonly kl: number;
  /** Seconds of a decode step. */
  readonly seconds: number;
  /** Of the block's matrices. */
  readonly bytes: number;
}

export interface BlockOptions {
  readonly block: string;
  readonly options: readonly BlockOption[];
}

/** A choice for every block, and its sums over blocks. */
export interface Mix extends Omit<BlockOption, 'dtype'> {
  /** In the order of the blocks. */
  readonly chosen: readonly BlockOption[];
}

/**
 * Mixes from the most exact to the fastest. Each differs from the one before in one block: the one that gives the most time
 * for its loss. These are the corners of the convex hull of all mixes' losses and times, which a Lagrange multiplier
 * finds (Everett 1963): no mix is faster at the loss of one of them.
 */
export function mixesByLoss(blocks: readonly BlockOptions[]): readonly Mix[] {
  let chosen = blocks.map(({ options }) => options.reduce((best, one) => (isMoreExact(one, best) ? one : best)));
  const mixes = [sumsOf(chosen)];
  for (;;) {
    const moves = blocks.flatMap(({ options }, at) => options.map((option) => moveTo(option, chosen[at], at)));
    const paying = moves.filter(({ gain }) => gain > 0);
    if (paying.length === 0) return mixes;
    const best = paying.reduce((first, move) => (move.rate > first.rate ? move : first));
    chosen = chosen.with(best.at, best.option);
    mixes.push(sumsOf(chosen));
  }
}

function isMoreExact(one: BlockOption, other: BlockOption): boolean {
  return one.kl < other.kl || (one.kl === other.kl && one.seconds < other.seconds);
}

/** What a block gains in time by another option, in all and for each nat. */
function moveTo(option: BlockOption, from: BlockOption, at: number) {
  const gain = from.seconds - option.seconds;
  return { option, at, gain, rate: gain / Math.max(0, option.kl - from.kl) };
}

/** All blocks in one precision. */
export function uniformMix(blocks: readonly BlockOptions[], dtype: string): Mix {
  return sumsOf(blocks.flatMap(({ options }) => options.filter((option) => option.dtype === dtype)));
}

function sumsOf(chosen: readonly BlockOption[]): Mix {
  const total = (of: 'kl' | 'seconds' | 'bytes') => chosen.reduce((sum, { [of]: value }) => sum + value, 0);
  return { chosen, kl: total('kl'), seconds: total('seconds'), bytes: total('bytes') };
}

/** What precisions cost, as far as it is not a time. */
export interface PrecisionLosses {
  /** By precision: the divergence of the model with all blocks in it, in nats a token. */
  readonly whole: Readonly<Record<string, number>>;
  /** By block: its share of what the coarsest precision costs beyond the most exact one. They add up to 1. */
  readonly shares: Readonly<Record<string, number>>;
}

/** A model whose blocks are to be stored, and where it is to decode. */
export interface AutoModel {
  readonly spec: StepShape;
  readonly host: HostKind;
  readonly costs: HostCosts;
  /** From the most exact to the coarsest. */
  readonly precisions: readonly Precision[];
  readonly blocks: readonly string[];
}

/**
 * The ways to store each block. What a block loses is its share of what the precision costs in all: a bit less doubles the errors
 * of every block. Losses of 0 where none are given. Throws RangeError for a precision without costs.
 */
export function blockOptions(model: AutoModel, losses?: PrecisionLosses): readonly BlockOptions[] {
  const { spec, host: kind, costs, precisions, blocks } = model;
  const [exact] = precisions;
  return blocks.map((block) => {
    const options = precisions.map((precision): BlockOption => {
      const dtype = precision.name as HostDtype;
      const known = costsOf(costs, dtype);
      if (known === undefined) throw new RangeError(`No costs of ${dtype} are known`);
      return {
        dtype,
        kl: losses === undefined ? 0 : losses.shares[block] * (losses.whole[dtype] - losses.whole[exact.name]),
        seconds: timeOf(known, wholeBlockTerms(spec, { kind, precision }, partOfBlock(block))),
        bytes: weightsOf(spec, block) * bytesPerWeight(precision),
      };
    });
    return { block, options };
  });
}

function weightsOf(spec: StepShape, block: string): number {
  return partOfBlock(block) === 'attention' ? attentionWeights(spec) : denseFfnBytes(spec) / DTYPE_BYTES.float32;
}

interface AutoPlan {
  readonly identity: ModelIdentity;
  readonly model: AutoModel;
  readonly mix: Mix;
  readonly shares: PrecisionLosses['shares'];
  readonly budget: string;
  /** That losses were measured on. */
  readonly texts: readonly TextIdentity[];
  /** sha256 of the losses. */
  readonly losses: string;
}

/** The plan that stores each block as the mix says. Its host has the smallest of the precisions. */
export function planOfMix({ identity, model, mix, shares, budget, texts, losses }: AutoPlan): Plan {
  const { modelType, fingerprint, numHiddenLayers, hiddenSize, intermediateSize } = identity;
  const { spec, host, blocks } = model;
  const smallest = mix.chosen.reduce((least, one) => (storedBytes(one) < storedBytes(least) ? one : least));
  return {
    ...{ format: PLAN_FORMAT, version: PLAN_VERSION, preset: AUTO },
    host: { kind: host, dtype: smallest.dtype },
    model: { modelType, fingerprint, numHiddenLayers, hiddenSize, intermediateSize },
    statistics: losses,
    texts: [...texts],
    ...{ tensors: null, target: null, budget, prefill: 'sparse', skipping: null },
    blocks: blocks.map((block, at): BlockPlan => {
      const { dtype, kl } = mix.chosen[at];
      const why = `losses: ${(100 * shares[block]).toFixed(1)} % of what the coarsest precision costs`;
      return { block, dtype, expected: { bytesPerToken: DTYPE_BYTES.float32 * weightsOf(spec, block), kl }, why };
    }),
  };
}

function storedBytes({ dtype }: BlockOption): number {
  return bytesPerWeight(precisionNamed(dtype));
}
