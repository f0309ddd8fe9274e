/** What targets of a preset are expected to take and to leave, before any model is made: the build's statistics, and its plans. */
import { type StatisticsSummary, summarise } from '../../../calibrate/index.ts';
import { readStatistics, readSums } from '../../../formats/statistics.ts';
import { LacunaError } from '../../core/errors.ts';
import { denseFfnBytes } from '../../core/ffn-bytes.ts';
import type { ModelSpec } from '../../core/model.ts';
import type { AimedPlan, BlockPlan, Host } from '../../core/plan.ts';
import type { Statistics } from '../../core/statistics.ts';
import { countsOf, meanCachedTokens } from '../../eval/index.ts';
import { makePlan, type PlanOptions, stepTime, streamLoss, withTarget } from '../../plan/index.ts';
import { type Problem, problemOf } from '../dry-run.ts';
import { outputsOf } from './keys.ts';
import type { Build } from './options.ts';

/** A target and what its plan expects, of the text that it was measured on. */
export interface ComparedTarget {
  /** The share to keep or to skip. */
  readonly target: number;
  /** Why there is no plan for it; then all that is expected is null. */
  readonly problem: Problem | undefined;
  /** Of the bytes of all FFN blocks, what a decoded token reads. */
  readonly ffnBytes: number | null;
  /** Of a decode step over the dense model's, by the costs of the host; null where they are not known. */
  readonly speedup: number | null;
  /** Of the energy of all FFN blocks, what is kept; null where blocks are skipped. */
  readonly keptEnergy: number | null;
  /** Of a layer's stream, its squared length that neurons left out would add, mean over layers; null where it is not counted. */
  readonly streamLoss: number | null;
  /** Of each layer's bytes, what a decoded token reads. */
  readonly layers: readonly number[];
}

export interface BuildComparison {
  readonly output: string;
  readonly precision: string;
  readonly host: Host;
  /** What was measured, by layer. */
  readonly summary: StatisticsSummary;
  readonly targets: readonly ComparedTarget[];
}

/** By the statistics that the build has measured. */
export async function describeTargets(
  job: Build,
  spec: ModelSpec,
  targets: readonly number[],
): Promise<BuildComparison> {
  const statistics = await readStatistics(outputsOf(job).statistics);
  const compared: ComparedTarget[] = [];
  for (const target of targets) compared.push(await describeTarget(job, spec, statistics, target));
  const { precision, host, options } = job;
  const summary = await summarise(statistics, readSums);
  return { output: options.output, precision: precision.name, host, summary, targets: compared };
}

async function describeTarget(
  job: Build,
  spec: ModelSpec,
  statistics: Statistics,
  target: number,
): Promise<ComparedTarget> {
  const { host, costs, precision, options } = job;
  const preset: PlanOptions = { ...withTarget(options.preset, target), host };
  const made = await planOr(() => makePlan(statistics, preset, '', readSums, costs));
  if (made instanceof LacunaError) return { target, problem: problemOf(made), ...UNKNOWN };
  const { plan } = made;
  const stored = { kind: host.kind, precision };
  const cached = meanCachedTokens(countsOf({}));
  const [dense, sparse] = [[], plan.blocks].map((blocks) => stepTime(costs, spec, stored, blocks, cached));
  const layers = bytesByLayer(plan, spec);
  return {
    target,
    problem: undefined,
    ffnBytes: mean(layers),
    speedup: dense === undefined || sparse === undefined ? null : dense / sparse,
    keptEnergy: keptEnergyOf(plan.blocks, spec),
    streamLoss: streamLoss(statistics, plan),
    layers,
  };
}

const UNKNOWN = { ffnBytes: null, speedup: null, keptEnergy: null, streamLoss: null, layers: [] };

/** What a target is refused with is of the target. */
async function planOr<T>(make: () => Promise<T>): Promise<T | LacunaError> {
  try {
    return await make();
  } catch (error) {
    if (error instanceof LacunaError && error.code === 'usage') return error;
    throw error;
  }
}

/** Layers that the plan does not list are dense. */
function bytesByLayer({ blocks }: AimedPlan, spec: ModelSpec): readonly number[] {
  const read = new Map(blocks.map(({ block, expected }) => [block, expected.bytesPerToken]));
  const dense = denseFfnBytes(spec);
  return Array.from({ length: spec.numHiddenLayers }, (_, layer) => (read.get(`layers.${layer}.ffn`) ?? dense) / dense);
}

function keptEnergyOf(blocks: readonly BlockPlan[], { numHiddenLayers: layers }: ModelSpec): number | null {
  const kept = blocks.flatMap(({ expected: { keptEnergy } }) => (typeof keptEnergy === 'number' ? [keptEnergy] : []));
  if (kept.length === 0) return null;
  return mean([...kept, ...Array.from({ length: layers - kept.length }, () => 1)]);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
