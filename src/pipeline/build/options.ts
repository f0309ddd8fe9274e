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

/** Texts by role. No two roles may share a document. */
export interface BuildTexts {
  /** Statistics are measured on these, and precisions in blocks are rounded by them. */
  readonly fit: readonly string[];
  /** Thresholds are corrected on these. */
  readonly choose: readonly string[];
  /** The figures are measured on these. */
  readonly test: readonly string[];
}

export interface BuildOptions extends SourceOptions {
  readonly checkpoint: string;
  readonly output: string;
  /** Without a host, the plan is for what this installation runs. */
  readonly preset: PlanOptions;
  /** The package's texts replace those that are not given. */
  readonly texts?: Partial<BuildTexts>;
  /** Number of tokens to calibrate on, and minimum number to score. */
  readonly tokens?: number;
  /**
   * Nothing is shipped when the ratio to the checkpoint's floats, with its error, is above this in any mode. At least
   * 1.
   */
  readonly maxPplRatio?: number;
  /** Ships a model even if it decodes slower than the dense one. */
  readonly allowSlower?: boolean;
  readonly force?: boolean;
  /**
   * How weights are stored, one of `SPARSE_PRECISIONS`, in the sparse model and in the dense one for comparison.
   * Default: fp32.
   */
  readonly dtype?: SparsePrecision;
  /** Folder of the native core, which times plans that are made for it. If absent, Lacuna looks for it. */
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
  readonly options: WholeOptions;
}

/** Whether the fitting text rounds the weights. */
export function isRounded({ precision }: Pick<Build, 'precision'>): boolean {
  return hasBlocks(precision);
}

/** How messages name the engine that times and measures a build. */
export function engineName({ engine }: Pick<Build, 'engine'>): string {
  return engine === 'stock' ? 'stock ONNX Runtime' : 'the native core';
}

/** The options of a stage. Its progress lines begin with the name of the command that does the same. */
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
