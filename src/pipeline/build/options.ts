/** What `build` is asked for, and what it works with once that is settled. */
import * as z from 'zod';
import type { HostCosts } from '../../core/host-costs.ts';
import { files, type Given, listOf, optionsOf, path } from '../../core/options.ts';
import type { Host } from '../../core/plan.ts';
import type { Precision } from '../../core/precision.ts';
import { type JobOptions, type Progress, SILENT } from '../../core/progress.ts';
import { planOptionsSchema } from '../../plan/index.ts';
import { chooseEngine, type Engine } from '../engine/engine.ts';
import { SOURCE, type SourceOptions } from '../folder/source.ts';
import { COSTS, count, flag, nativeFolder } from '../options.ts';
import { SPARSE_PRECISIONS } from '../sparsify.ts';
import { pinnedTexts } from '../texts/texts.ts';
import type { Keys } from './keys.ts';

/** Texts by what they are for; none may share a document with another. */
export const TEXTS = {
  /** Statistics are measured on these, and precisions in blocks rounded by them, */
  fit: files,
  /** thresholds corrected on these, */
  choose: files,
  /** and the figures taken from these. */
  test: files,
};

export type BuildTexts = Required<Given<typeof TEXTS>>;

/** Of a perplexity over its baseline's. */
export const maxPplRatio = z.number().min(1);

const REQUIRED = {
  checkpoint: path,
  output: path,
  /** Without a host: what this installation runs. */
  preset: planOptionsSchema,
};

const OPTIONAL = {
  ...SOURCE,
  ...COSTS,
  /** Of those that are not given, the ones that come with the package. */
  texts: optionsOf({}, TEXTS),
  /** Tokens to calibrate on and to score at least. */
  tokens: count,
  /** Nothing is shipped when the ratio to the checkpoint's floats, with its error, is above this in any mode; at least 1. */
  maxPplRatio,
  /** Ships a model too that decodes slower than the dense one. */
  allowSlower: flag,
  force: flag,
  /** Where finished stages are kept, also when all is done; by default beside the output, until then. */
  work: path,
  /** How weights are stored, of `SPARSE_PRECISIONS`, in the sparse model and the dense one beside it; fp32 by default. */
  dtype: z.enum(SPARSE_PRECISIONS),
  /** Where the native core is, which times plans that are made for it; found by itself when absent. */
  nativeFolder,
};

export const buildOptions = optionsOf(REQUIRED, OPTIONAL);

export interface BuildOptions extends SourceOptions, z.infer<typeof buildOptions> {}

/** `targets`: shares to keep or to skip, each in place of the preset's own. */
export const compareOptions = optionsOf({ ...REQUIRED, targets: listOf(z.number().gt(0).lt(1)) }, OPTIONAL);

export interface CompareOptions extends SourceOptions, z.infer<typeof compareOptions> {}

/** With the texts that were not given. */
export type WholeOptions = BuildOptions & { readonly texts: BuildTexts };

export function withTexts<T extends Pick<BuildOptions, 'texts'>>(given: T): T & { readonly texts: BuildTexts } {
  const { fit = pinnedTexts('fit'), choose = pinnedTexts('choose'), test = pinnedTexts('test') } = given.texts ?? {};
  return { ...given, texts: { fit, choose, test } };
}

/** A build with complete and checked options. */
export interface Build {
  /** Its workspace. */
  readonly work: string;
  readonly keys: Keys;
  readonly precision: Precision;
  /** The host that it is planned for. */
  readonly host: Host;
  /** The engine that times and measures it. It differs from the host if the host is not here. */
  readonly engine: Engine;
  /** Of the host. */
  readonly costs: HostCosts;
  readonly options: WholeOptions;
}

/** The options of a stage. Its progress lines begin with the name of the command that does the same. */
export function optionsFor<T extends Pick<JobOptions, 'progress'>>(
  name: string,
  options: T,
): T & { readonly progress: Progress } {
  const { progress = SILENT } = options;
  return {
    ...options,
    progress: {
      stage: (label, total, unit) => progress.stage(`${name}: ${label}`, total, unit),
      note: (text) => progress.note(`${name}: ${text}`),
    },
  };
}

/** The same for a stage that measures models. It uses the engine that the model is for, if that is here. */
export async function measuringOptions<T extends Pick<BuildOptions, 'progress' | 'nativeFolder'>>(
  name: string,
  { engine, options }: { readonly engine: Engine; readonly options: T },
) {
  const { native } = await chooseEngine({ engine, nativeFolder: options.nativeFolder });
  return { ...optionsFor(name, options), native };
}
