/** What `build` is asked for, and what it works with once that is settled. */

import * as z from 'zod';
import { optionsOf } from '../../core/options.ts';
import type { Host } from '../../core/plan.ts';
import { hasBlocks, type Precision } from '../../core/precision.ts';
import { type Progress, SILENT } from '../../core/progress.ts';
import type { PlanOptions } from '../../plan/index.ts';
import { planOptionsSchema } from '../../plan/index.ts';
import type { Engine } from '../engine/engine.ts';
import * as field from '../fields.ts';
import type { SourceOptions } from '../folder/source.ts';
import { SPARSE_PRECISIONS, type SparsePrecision } from '../sparsify.ts';
import { pinnedTexts } from '../texts/texts.ts';
import type { Keys } from './keys.ts';

/** Texts by what they are for; none may share a document with another. */
export interface BuildTexts {
  /** Statistics are measured on these, and precisions in blocks rounded by them, */
  readonly fit: readonly string[];
  /** thresholds corrected on these, */
  readonly choose: readonly string[];
  /** and the figures taken from these. */
  readonly test: readonly string[];
}

export interface BuildOptions extends SourceOptions {
  readonly checkpoint: string;
  readonly output: string;
  /** Without a host: what this installation runs. */
  readonly preset: PlanOptions;
  /** Of those that are not given, the ones that come with the package. */
  readonly texts?: Partial<BuildTexts>;
  /** Tokens to calibrate on and to score at least. */
  readonly tokens?: number;
  /** Nothing is shipped when the ratio to the checkpoint's floats, with its error, is above this in any mode; at least 1. */
  readonly maxPplRatio?: number;
  /** Ships a model too that decodes slower than the dense one. */
  readonly allowSlower?: boolean;
  readonly force?: boolean;
  /** How weights are stored, of `SPARSE_PRECISIONS`, in the sparse model and the dense one beside it; fp32 by default. */
  readonly dtype?: SparsePrecision;
  /** Where the native core is, which times plans that are made for it; found by itself when absent. */
  readonly nativeFolder?: string | URL;
}

export const buildOptions = optionsOf<BuildOptions>(
  { checkpoint: field.path, output: field.path, preset: planOptionsSchema },
  {
    ...field.source,
    texts: optionsOf<Partial<BuildTexts>>({}, { fit: field.files, choose: field.files, test: field.files }),
    tokens: field.count,
    maxPplRatio: field.maxPplRatio,
    allowSlower: field.flag,
    force: field.flag,
    dtype: z.enum(SPARSE_PRECISIONS),
    nativeFolder: field.nativeFolder,
  },
);

/** With the texts that were not given. */
export interface WholeOptions extends BuildOptions {
  readonly texts: BuildTexts;
}

export function wholeOptions(given: BuildOptions): WholeOptions {
  const { fit = pinnedTexts('fit'), choose = pinnedTexts('choose'), test = pinnedTexts('test') } = given.texts ?? {};
  return { ...given, texts: { fit, choose, test } };
}

/** A build whose options are settled and checked. */
export interface Build {
  /** Its workspace. */
  readonly work: string;
  readonly keys: Keys;
  readonly precision: Precision;
  /** What it is planned for. */
  readonly host: Host;
  /** What times and measures it: another where the host's is not here. */
  readonly engine: Engine;
  readonly options: WholeOptions;
}

/** Whether weights are rounded by the fitting text. */
export function isRounded({ precision }: Pick<Build, 'precision'>): boolean {
  return hasBlocks(precision);
}

/** How messages call what times and measures a build. */
export function engineName({ engine }: Pick<Build, 'engine'>): string {
  return engine === 'stock' ? 'stock ONNX Runtime' : 'the native core';
}

/** The options of a stage: its lines of progress begin with the name of the command that does the same. */
export function optionsFor(name: string, options: WholeOptions): WholeOptions & { readonly progress: Progress } {
  const { progress = SILENT } = options;
  return {
    ...options,
    progress: {
      stage: (label, total, unit) => progress.stage(`${name}: ${label}`, total, unit),
      note: (text) => progress.note(`${name}: ${text}`),
    },
  };
}
