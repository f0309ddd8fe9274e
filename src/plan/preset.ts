/** What a preset is: all that the library and the command line know of one way to choose what is left out. */
import * as z from 'zod';
import type { ArrivingTokens, Products, StandIn } from '../core/arriving.ts';
import type { MeasureName } from '../core/choice.ts';
import { LacunaError } from '../core/errors.ts';
import type { HostCosts } from '../core/host-costs.ts';
import {
  type AimedPlan,
  type BlockPlan,
  type Host,
  hostSchema,
  type Plan,
  type PlanTensors,
  prefillSchema,
  type Target,
} from '../core/plan.ts';
import { checkMeasured, type ReadSums, type Statistics } from '../core/statistics.ts';
import type { Realised, TargetKind } from '../core/target.ts';
import type { ModelShape } from './host.ts';

/** The parts of a plan that a preset decides, and the tensors they name. */
export interface PresetPlan {
  readonly parts: Pick<AimedPlan, 'target' | 'skipping' | 'notes' | 'blocks'>;
  readonly tensors: PlanTensors;
}

/**
 * Options by name, each a number, a flag, one of some words or a list of layers. Its `meta` is what the command line says of it: `description`, and
 * `title`, which names a value there. A flag that is true by default is described as what leaving it out (`--no-<name>`) does.
 */
export type PresetOptions = Readonly<
  Record<string, z.ZodType<number | boolean | string | readonly number[] | undefined>>
>;

/** What is said of a preset to whoever chooses one. */
export interface PresetWords {
  readonly name: string;
  /**
   * What plans aim at: a share of `kind`, which states the option for it. `usual` is taken where none is given. `unless` is an
   * option that decides in its place.
   */
  readonly target: { readonly kind: TargetKind; readonly usual: number; readonly unless?: string };
  readonly options: PresetOptions;
  /** How its plans run calls of several tokens where nothing is said. */
  readonly prefill: Plan['prefill'];
}

export interface Preset<Name extends string = string, Options extends PresetOptions = PresetOptions>
  extends PresetWords {
  readonly name: Name;
  readonly options: Options;
  /** Names of the statistics that `plan` and `retune` read, of those that are always measured. */
  readonly statistics: (options: z.input<z.ZodObject<Options>>) => readonly string[];
  /** Of those that are measured only on request. `build` measures them too; none when absent. */
  readonly furtherStatistics?: readonly string[];
  /** What blocks choose neurons by, so that `down` is read along both of its axes; absent where they compute all. */
  readonly measureOf?: (options: z.input<z.ZodObject<Options>>) => MeasureName;
  /** Throws `usage` for layers among the options that a model of `layers` layers lacks; absent where no option names layers. */
  readonly checkLayers?: (options: z.input<z.ZodObject<Options>>, layers: number) => void;
  /** Throws `usage` for a target that pays for no block of this size on the host; absent where only a plan can tell. */
  readonly checkTarget?: (
    target: Target,
    host: Host,
    model: ModelShape,
    costs: HostCosts,
    measure: MeasureName | undefined,
  ) => void;
  plan(
    statistics: Statistics,
    options: z.output<z.ZodObject<Options>>,
    readSums: ReadSums,
  ): PresetPlan | Promise<PresetPlan>;
  /** The plan's blocks, corrected, and its notes where these change. `realised` is of the kind of the plan's target: the caller checks it. */
  retune(
    plan: AimedPlan,
    tensors: PlanTensors,
    statistics: Statistics,
    realised: Realised,
    readSums: ReadSums,
  ): Corrected | Promise<Corrected>;
  /**
   * One of the plan's blocks fitted to the tokens that arrive when those before it are as planned, and what stands in its
   * place then. Undefined for a block that nothing is fitted of; absent where there are no others.
   */
  readonly refit?: (
    plan: AimedPlan,
    block: BlockPlan,
    tokens: ArrivingTokens,
    products: Products,
  ) => Promise<RefittedBlock | undefined>;
}

export interface RefittedBlock {
  readonly block: BlockPlan;
  /** All tensors that the block names. */
  readonly tensors: PlanTensors;
  readonly standIn: StandIn;
}

export type Corrected = Pick<AimedPlan, 'notes' | 'blocks'>;

/** The preset as it is, its name and its options as types. */
export function definePreset<const Name extends string, Options extends PresetOptions>(
  preset: Preset<Name, Options>,
): Preset<Name, Options> {
  return preset;
}

const COMMON = { prefill: prefillSchema.optional(), host: hostSchema.optional() };

/** What a caller gives to have a plan by the preset. */
export type OptionsOf<P> =
  P extends Preset<infer Name, infer Options>
    ? { readonly preset: Name } & Readonly<z.input<z.ZodObject<Options & typeof COMMON>>>
    : never;

export function optionsSchema({ name, options }: Preset) {
  return z.strictObject({ preset: z.literal(name), ...options, ...COMMON });
}

/** Throws `mismatch` when what was measured is not what the plan aims at, or the statistics are of another model. */
export function checkRetune(plan: AimedPlan, statistics: Statistics, realised: Realised): void {
  if (realised.kind !== plan.target.kind)
    throw new LacunaError('mismatch', `The plan aims at ${plan.target.kind}, what was measured is ${realised.kind}`);
  if (statistics.model.fingerprint !== plan.model.fingerprint)
    throw new LacunaError('mismatch', 'The statistics are of another model than the plan', {
      hint: 'Give the statistics that the plan was made from.',
    });
}

/** Throws `bad-file` when statistics lack one that the preset reads: an older version measured fewer. */
export function checkStatistics(
  { statistics: usual, furtherStatistics: further = [] }: Preset,
  options: z.input<z.ZodObject<PresetOptions>>,
  statistics: Statistics,
): void {
  for (const name of usual(options)) checkMeasured(statistics, name);
  for (const name of further) checkMeasured(statistics, name, further);
}
