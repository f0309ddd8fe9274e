/** `lacuna eval`: what a model's perplexity is, and what leaving something out cost against its dense baseline. */
import { LacunaError } from '../core/errors.ts';
import type { Plan } from '../core/plan.ts';
import type { JobOptions } from '../core/progress.ts';
import type { Session } from '../core/session.ts';
import {
  COMPARE_MODES,
  type CompareMode,
  type Comparison,
  compare,
  DEFINITIONS,
  measurePerplexity,
  type PerplexityResult,
} from '../eval/index.ts';
import { openSession } from '../runtime/index.ts';
import { noteFittedTexts } from './fitted-texts.ts';
import { feedOf, openMeasuredSession } from './measured-session.ts';
import { baselineOf, type ChosenModel, chooseModel, type ModelFolder, openModelFolder } from './model-folder.ts';
import { readWindows } from './windows.ts';

export interface EvaluateOptions extends JobOptions {
  readonly folder: string;
  /** The dense baseline. Without it only the folder's own perplexity is measured. */
  readonly against?: string;
  /** Which of the folder's precisions, and of the baseline's; the first by default. */
  readonly dtype?: string;
  readonly againstDtype?: string;
  readonly data: readonly string[];
  /** Tokens to score at least (in mode `all`; half as many in mode `decode`). */
  readonly tokens?: number;
  /** Tokens a window. */
  readonly window?: number;
  readonly modes?: readonly CompareMode[];
  /** The check fails when the perplexity ratio of any mode is above this. */
  readonly maxPplRatio?: number;
}

export interface TextMeasured {
  readonly name: string;
  readonly sha256: string;
}

export interface EvaluateResult {
  readonly folder: string;
  readonly against: string | undefined;
  readonly precision: string;
  readonly againstPrecision: string | undefined;
  readonly texts: readonly TextMeasured[];
  readonly perplexity: PerplexityResult | undefined;
  readonly modes: readonly Comparison[];
  readonly target: Plan['target'] | undefined;
  readonly check: { readonly maxPplRatio: number; readonly passed: boolean } | undefined;
  /** What each figure means. */
  readonly definitions: Readonly<Record<string, string>>;
}

/**
 * Evaluates a folder, alone or against its dense baseline on the same tokens.
 *
 * A failed check is a result, not an error: `check.passed` is false.
 *
 * @example await evaluate({ folder: 'out/sparse', against: 'out/dense', data: ['fixtures/texts/test.txt'] });
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluateResult> {
  const model = await openModelFolder(options.folder, options.dtype);
  const against = baselineOf(options);
  const baseline = against === undefined ? undefined : await chooseModel(against, options.againstDtype);
  const { contextLength } = model.manifest.spec;
  const { windows, texts } = await readWindows(options.folder, contextLength, options);
  noteFittedTexts(model, texts, options.progress);
  const result = {
    folder: options.folder,
    against,
    precision: model.model.precision,
    againstPrecision: baseline?.model.precision,
    texts,
    target: model.manifest.plan?.target,
    definitions: DEFINITIONS,
  };
  if (baseline === undefined) {
    if (options.maxPplRatio !== undefined) {
      throw new LacunaError('usage', 'A perplexity ratio needs a dense baseline', { hint: 'Name it: --against DIR' });
    }
    const session = await openSession(model.modelPath, options);
    const perplexity = await measurePerplexity(session, windows, options).finally(() => session.close());
    return { ...result, perplexity, modes: [], check: undefined };
  }
  const modes = await compareFolders(model, baseline, windows, options);
  return { ...result, perplexity: undefined, modes, check: checkRatio(modes, options.maxPplRatio) };
}

async function compareFolders(
  model: ModelFolder,
  baseline: ChosenModel,
  windows: readonly (readonly number[])[],
  options: EvaluateOptions,
): Promise<Comparison[]> {
  if (baseline.manifest.fingerprint !== model.manifest.fingerprint) {
    throw new LacunaError(
      'mismatch',
      `${baseline.modelPath} was made from another checkpoint than ${model.modelPath}`,
      {
        hint: 'Give the dense folder of the same checkpoint.',
      },
    );
  }
  const dense = await openSession(baseline.modelPath, options);
  try {
    const sparse = await openMeasuredSession(model.modelPath, model.graph, options);
    return await compareSessions(dense, sparse, windows, model, options).finally(() => sparse.close());
  } finally {
    await dense.close();
  }
}

/** All modes asked for, on sessions that are open. */
export async function compareSessions(
  dense: Session,
  sparse: Session,
  windows: readonly (readonly number[])[],
  { manifest: { spec, plan } }: Pick<ModelFolder, 'manifest'>,
  { modes = COMPARE_MODES, progress, signal }: Pick<EvaluateOptions, 'modes' | 'progress' | 'signal'>,
): Promise<Comparison[]> {
  const feed = feedOf(plan);
  const results: Comparison[] = [];
  for (const mode of modes)
    results.push(await compare(dense, sparse, windows, { mode, feed, ffn: spec, progress, signal }));
  return results;
}

/** Whether every mode keeps to the budget; undefined without one. */
export function checkRatio(modes: readonly Comparison[], maxPplRatio: number | undefined): EvaluateResult['check'] {
  if (maxPplRatio === undefined) return undefined;
  return { maxPplRatio, passed: modes.every(({ perplexityRatio }) => perplexityRatio <= maxPplRatio) };
}
