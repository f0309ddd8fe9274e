/** What a block takes on a plan's host, and which blocks of a plan are to take less than they do dense. */
import { type MeasureName, measureNamed } from '../core/choice.ts';
import { LacunaError } from '../core/errors.ts';
import { percent } from '../core/figures.ts';
import type { ModelIdentity } from '../core/model.ts';
import type { BlockPlan, Host, Plan } from '../core/plan.ts';
import { type HostDtype, hasBlocks, precisionNamed } from '../core/precision.ts';
import { denseFfnBytes, type FfnShape } from './bytes.ts';
import type { PresetPlan } from './preset.ts';

export type ModelShape = FfnShape & Pick<ModelIdentity, 'numHiddenLayers'>;

/** Stock ONNX Runtime's times for one token, in microseconds; docs/plans.md, "Hosts", says where they come from. */
const STOCK = {
  /** What a dense block takes beside its products. */
  block: 20,
  /** Times a weight's, in products over gathered rows: these are copied, and cannot be packed ahead. */
  gathered: 3,
  /** Choosing neurons, by a body that multiplies by all of them. */
  choose: 30,
  /** Choosing, finding and gathering them. */
  gather: 60,
  /** The mask of a block that may be skipped, its cosine, and the step of the state. */
  mask: 60,
  /** A block that is skipped, with that step. */
  skipped: 16,
  /** Of the tokens that a plan says skip a block, the share that does on another text, before the plan is corrected. */
  realised: 0.8,
} as const;

/** The most that a block may take of its dense time. Times differ by a tenth between processors, threads and loads. */
const WORTHWHILE = 0.8;

/**
 * The time of a block in stock ONNX Runtime that computes and skips what it expects, as a share of the dense block's.
 * Whatever else is done to it, its products take what reading the bytes expected does.
 */
export function stockTime(shape: FfnShape, dtype: HostDtype, block: BlockPlan): number {
  const { choice, skip, expected } = block;
  const dense = denseTime(shape, dtype);
  if (choice === undefined && skip === undefined) {
    const read = expected.bytesPerToken / denseFfnBytes(shape);
    return (STOCK.block + read * (dense - STOCK.block)) / dense;
  }
  const run = choice === undefined ? dense : selectedTime(shape, dtype, expected.density ?? 1, choice.measure);
  return (skip === undefined ? run : skippingTime(run, expected.skipped ?? 0)) / dense;
}

/** Whether stock ONNX Runtime gathers rows in less time than it multiplies by all: rows of floats alone. */
function gathers(dtype: HostDtype): boolean {
  return !hasBlocks(precisionNamed(dtype));
}

function projectionTime({ hiddenSize, intermediateSize }: FfnShape, dtype: HostDtype): number {
  return precisionNamed(dtype).stockTime * hiddenSize * intermediateSize;
}

function denseTime(shape: FfnShape, dtype: HostDtype): number {
  return STOCK.block + 3 * projectionTime(shape, dtype);
}

/** With no measure: what the choices take that gather. */
function selectedTime(shape: FfnShape, dtype: HostDtype, density: number, measure?: MeasureName): number {
  const whole = denseTime(shape, dtype) + STOCK.choose;
  const gathersUp = measure === undefined || measureNamed(measure).rows.some((matrix) => matrix === 'up');
  return gathersUp && gathers(dtype) ? Math.min(whole, gatheredTime(shape, dtype, density)) : whole;
}

/** The gate whole, and `density` of up's and down's rows. */
function gatheredTime(shape: FfnShape, dtype: HostDtype, density: number): number {
  return STOCK.block + STOCK.gather + (1 + 2 * STOCK.gathered * density) * projectionTime(shape, dtype);
}

function skippingTime(run: number, skipped: number): number {
  const realised = STOCK.realised * skipped;
  return (1 - realised) * (run + STOCK.mask) + realised * STOCK.skipped;
}

/** The blocks with what each is expected to take on the host, where that is known. */
export function withTimes(blocks: readonly BlockPlan[], host: Host, shape: FfnShape): BlockPlan[] {
  if (host.kind === 'native') return [...blocks];
  return blocks.map((block) => ({
    ...block,
    expected: { ...block.expected, time: stockTime(shape, host.dtype, block) },
  }));
}

/**
 * A plan's parts without the blocks that would gain nothing on the host. Blocks that may be skipped stay or go
 * together: those before decide. Throws `usage` when no block is left, with a target that would leave some.
 */
export function forHost(parts: PresetPlan['parts'], host: Host, model: ModelIdentity): PresetPlan['parts'] {
  if (host.kind === 'native') return parts;
  const timed = withTimes(parts.blocks, host, model);
  const groups = parts.skipping === null ? timed.map((block) => [block]) : [timed];
  const blocks = groups.filter((group) => meanTime(group) <= WORTHWHILE).flat();
  if (blocks.length === 0) {
    const { kind } = parts.target;
    const share = kind === 'density' ? payingDensity(model, host.dtype) : payingSkips(timed.length, model, host.dtype);
    throw nothingPays(meanTime(timed), share, kind, host.dtype, model);
  }
  return { ...parts, blocks };
}

/** Throws `usage`, as `forHost` does, for a target that pays for no block of this size, whatever was measured. */
export function checkTarget({ kind, value }: Plan['target'], host: Host, model: ModelShape): void {
  if (host.kind === 'native') return;
  const isDensity = kind === 'density';
  const dense = denseTime(model, host.dtype);
  // The fewer blocks are skipped, the more often: at best each is skipped by every token.
  const time = (isDensity ? selectedTime(model, host.dtype, value) : skippingTime(dense, 1)) / dense;
  if (time <= WORTHWHILE) return;
  throw nothingPays(time, isDensity ? payingDensity(model, host.dtype) : undefined, kind, host.dtype, model);
}

function meanTime(blocks: readonly BlockPlan[]): number {
  return blocks.reduce((sum, { expected }) => sum + (expected.time ?? 1), 0) / blocks.length;
}

function nothingPays(
  time: number,
  share: number | undefined,
  kind: PresetPlan['parts']['target']['kind'],
  dtype: HostDtype,
  { hiddenSize, intermediateSize }: FfnShape,
): LacunaError {
  const what = kind === 'density' ? 'Neurons to keep: at most' : 'FFN blocks to skip: at least';
  const other = 'or plan for the native kernels: --host native';
  const hint =
    share === undefined
      ? `No --target of this preset would do in ${dtype} at this size; try its other options or another preset, ${other}.`
      : `${what} --target ${share.toFixed(2)}; ${other}.`;
  return new LacunaError(
    'usage',
    `In stock ONNX Runtime blocks of ${hiddenSize}x${intermediateSize} in ${dtype} are expected to take ${percent(time, 0)} of their dense time ` +
      `by this plan, wanted at most ${percent(WORTHWHILE, 0)}`,
    { hint },
  );
}

/** The highest density that pays, in hundredths; undefined where none does. */
export function payingDensity(shape: FfnShape, dtype: HostDtype): number | undefined {
  if (!gathers(dtype)) return undefined;
  const share = shareThatPays(shape, dtype, (density) => gatheredTime(shape, dtype, density));
  return asTarget(Math.floor(100 * share));
}

/** The least share of all FFN blocks whose skipping pays where `blocks` of the layers may be skipped, in hundredths. */
export function payingSkips(blocks: number, model: ModelIdentity, dtype: HostDtype): number | undefined {
  const share = shareThatPays(model, dtype, (skipped) => skippingTime(denseTime(model, dtype), skipped));
  return share < 1 ? asTarget(Math.ceil((100 * share * blocks) / model.numHiddenLayers)) : undefined;
}

/** Where a time that is linear in a share comes to what pays. */
function shareThatPays(shape: FfnShape, dtype: HostDtype, time: (share: number) => number): number {
  const [none, all] = [time(0), time(1)];
  return (WORTHWHILE * denseTime(shape, dtype) - none) / (all - none);
}

function asTarget(hundredths: number): number | undefined {
  return hundredths > 0 && hundredths < 100 ? hundredths / 100 : undefined;
}
