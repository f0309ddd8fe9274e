/** What a block takes on a plan's host, by the host's costs, and which blocks of a plan are to take less than dense. */
import { type MeasureName, measureNamed } from '../core/choice.ts';
import { LacunaError } from '../core/errors.ts';
import type { FfnShape } from '../core/ffn-bytes.ts';
import { percent } from '../core/figures.ts';
import { costsOf, type HostCosts, type Terms, timeOf } from '../core/host-costs.ts';
import type { ModelIdentity } from '../core/model.ts';
import type { BlockPlan, Host, Target } from '../core/plan.ts';
import { type HostDtype, hasBlocks, type Precision, precisionNamed } from '../core/precision.ts';
import { TARGETS } from '../core/target.ts';
import { SCORED_MEASURES } from './neuron-scores.ts';
import type { PresetPlan } from './preset.ts';
import { blockTerms, chosenTerms, denseTerms, REALISED, type Stored, skippingTerms } from './step.ts';

export type ModelShape = FfnShape & Pick<ModelIdentity, 'numHiddenLayers'>;

/** The most that a block may take of its dense time. Times differ by a tenth between processors, threads and loads. */
const WORTHWHILE = 0.8;

/** A host whose costs are known for the storage of the weights. */
interface TimedHost extends Stored {
  readonly dtype: HostDtype;
  /** Seconds. */
  readonly timeOf: (terms: Terms) => number;
}

/** Undefined for the native kernels where the plan does not say how weights are stored, and where nothing is known. */
function timedHost({ kind, dtype }: Host, costs: HostCosts): TimedHost | undefined {
  const known = dtype === undefined ? undefined : costsOf(costs, dtype);
  if (dtype === undefined || known === undefined) return undefined;
  return { kind, dtype, precision: precisionNamed(dtype), timeOf: (terms) => timeOf(known, terms) };
}

/** The blocks with the time of each on the host as a share of the dense block's, where that is known. */
export function withTimes(blocks: readonly BlockPlan[], host: Host, shape: FfnShape, costs: HostCosts): BlockPlan[] {
  const timed = timedHost(host, costs);
  if (timed === undefined) return [...blocks];
  return blocks.map((block) => {
    const time = shareOfDense(blockTerms(shape, timed, block), shape, timed);
    return { ...block, expected: { ...block.expected, time } };
  });
}

function shareOfDense(terms: Terms, shape: FfnShape, host: TimedHost): number {
  return host.timeOf(terms) / host.timeOf(denseTerms(shape, host));
}

/**
 * A plan's parts with the blocks' times; for stock ONNX Runtime without the blocks that would gain nothing. Blocks that
 * may be skipped stay or go together: those before decide. Throws `usage` when no block is left, with a target that
 * would leave some.
 */
export function forHost(
  parts: PresetPlan['parts'],
  host: Host,
  model: ModelIdentity,
  costs: HostCosts,
): PresetPlan['parts'] {
  const timed = withTimes(parts.blocks, host, model, costs);
  const known = timedHost(host, costs);
  if (host.kind === 'native' || known === undefined) return { ...parts, blocks: timed };
  const linked = timed.filter(({ skip }) => skip !== undefined);
  const isPaying = (block: BlockPlan) => meanTime(linked.includes(block) ? linked : [block]) <= WORTHWHILE;
  const blocks = timed.filter(isPaying);
  if (blocks.length > 0) return { ...parts, blocks };
  const { kind } = parts.target;
  const measure = timed[0]?.choice?.measure;
  const share = kind === 'density' ? payingDensity(model, known, measure) : payingSkips(timed.length, model, known);
  throw nothingPays(meanTime(timed), share, kind, known.dtype, model);
}

/** Throws `usage` for a measure that no plan states for weights stored so. */
export function checkMeasure(measure: MeasureName, precision: Precision): void {
  const isFor = (name: MeasureName) =>
    measureNamed(name).plannedFor.includes(hasBlocks(precision) ? 'blocks' : 'floats');
  if (isFor(measure)) return;
  throw new LacunaError('usage', `Measure ${measure} is not for weights in ${precision.name}`, {
    hint: `Measures of top-k for these: ${SCORED_MEASURES.filter(isFor).join(', ')}.`,
  });
}

/** Throws `usage`, as `forHost` does, for a target that pays for no block of this size, whatever was measured. */
export function checkTarget(
  { kind, value }: Target,
  host: Host,
  model: ModelShape,
  costs: HostCosts,
  measure?: MeasureName,
): void {
  const known = timedHost(host, costs);
  if (host.kind === 'native' || known === undefined) return;
  const isDensity = kind === 'density';
  // The fewer blocks are skipped, the more often: at best each is skipped by every token.
  const time = isDensity ? choosingTime(value, model, known, measure) : skippingTime(1, model, known);
  if (time <= WORTHWHILE) return;
  throw nothingPays(time, isDensity ? payingDensity(model, known, measure) : undefined, kind, known.dtype, model);
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
  const flag = `--${TARGETS[kind].option}`;
  const other = 'or plan for the native kernels: --host native';
  const hint =
    share === undefined
      ? `No ${flag} would do in ${dtype} at this size; try other options or another preset, ${other}.`
      : `${what} ${flag} ${share.toFixed(2)}; ${other}.`;
  return new LacunaError(
    'usage',
    `In stock ONNX Runtime blocks of ${hiddenSize}x${intermediateSize} in ${dtype} are expected to take ${percent(time, 0)} of their dense time ` +
      `by this plan, wanted at most ${percent(WORTHWHILE, 0)}`,
    { hint },
  );
}

/** Of blocks that compute this share of their neurons. */
function choosingTime(density: number, shape: FfnShape, host: TimedHost, measure?: MeasureName): number {
  return shareOfDense(chosenTerms(shape, host, density, measure), shape, host);
}

/** Of blocks that a plan says this share of the tokens skips. */
function skippingTime(skipped: number, shape: FfnShape, host: TimedHost): number {
  return shareOfDense(skippingTerms(denseTerms(shape, host), REALISED * skipped), shape, host);
}

const HUNDREDTHS = Array.from({ length: 99 }, (_, at) => (at + 1) / 100);

/** The highest density that pays, in hundredths; undefined where none does. */
function payingDensity(shape: FfnShape, host: TimedHost, measure?: MeasureName): number | undefined {
  return HUNDREDTHS.findLast((density) => choosingTime(density, shape, host, measure) <= WORTHWHILE);
}

/** The least share of all FFN blocks whose skipping pays where `blocks` of the layers may be skipped, in hundredths. */
function payingSkips(blocks: number, model: ModelShape, host: TimedHost): number | undefined {
  const most = blocks / model.numHiddenLayers;
  return HUNDREDTHS.find((share) => skippingTime(Math.min(1, share / most), model, host) <= WORTHWHILE);
}

/** The two targets by which `forHost` helps, of a model of which this many blocks may be skipped. */
export function payingTargets(model: ModelShape, blocks: number, host: Host, costs: HostCosts) {
  const known = timedHost(host, costs);
  if (known === undefined) return { density: undefined, skips: undefined };
  return { density: payingDensity(model, known), skips: payingSkips(blocks, model, known) };
}
