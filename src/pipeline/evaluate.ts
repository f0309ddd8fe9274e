/** `lacuna eval`: what a model's perplexity is, and what leaving something out cost against its dense baseline. */
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import type { ModelFiles } from '../core/checkpoint.ts';
import { invalidArgument, LacunaError } from '../core/errors.ts';
import type { Plan } from '../core/plan.ts';
import type { PrecisionName } from '../core/precision.ts';
import type { JobOptions } from '../core/progress.ts';
import type { Session } from '../core/session.ts';
import {
  COMPARE_MODES,
  type CompareMode,
  type Comparison,
  compare,
  cutWindows,
  DEFINITIONS,
  measurePerplexity,
  type PerplexityResult,
  WINDOW_TOKENS,
} from '../eval/index.ts';
import { openSession } from '../runtime/index.ts';
import { feedOf, openMeasuredSession } from './measured-session.ts';
import { baselineOf, type ChosenModel, chooseModel, type ModelFolder, openModelFolder } from './model-folder.ts';
import { pinnedTexts, readTexts } from './texts.ts';

/** Scored tokens by default: enough for the third digit of a ratio. */
export const DEFAULT_TOKENS = 20_000;

export interface EvaluateOptions extends JobOptions {
  readonly folder: string;
  /** The dense baseline. Without it only the folder's own perplexity is measured. */
  readonly against?: string;
  /** Which of the folder's precisions, and of the baseline's; the first by default. */
  readonly dtype?: PrecisionName;
  readonly againstDtype?: PrecisionName;
  /** UTF-8 files; the pinned `test` text by default. */
  readonly data?: readonly string[];
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
 * @example const { modes } = await evaluate({ folder: 'out/sparse', against: 'out/dense' });
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluateResult> {
  const model = await openModelFolder(options.folder, options.dtype);
  const against = baselineOf(options);
  const baseline = against === undefined ? undefined : await chooseModel(against, options.againstDtype);
  const { contextLength } = model.manifest.spec;
  const { windows, texts } = await readWindows(options.folder, contextLength, options);
  noteShortText(windows, options);
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

function noteShortText(windows: readonly (readonly number[])[], { tokens, progress }: EvaluateOptions): void {
  const scored = windows.length * (windows[0].length - 1);
  if (tokens !== undefined && scored < tokens)
    progress?.note(`The texts hold ${scored} tokens to score, ${tokens} were asked for: all are scored.`);
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

export interface WindowsOptions {
  readonly data?: readonly string[];
  readonly tokens?: number;
  readonly window?: number;
}

/**
 * The first windows of the texts that hold at least `tokens` scored tokens, by the folder's own tokenizer.
 *
 * @throws LacunaError `usage` when a window is longer than the context, or a text shorter than a window.
 */
export async function readWindows(
  source: string | ModelFiles,
  contextLength: number,
  {
    data = pinnedTexts('test'),
    tokens = DEFAULT_TOKENS,
    window = Math.min(WINDOW_TOKENS, contextLength),
  }: WindowsOptions,
) {
  if (window > contextLength) throw invalidArgument('window', `at most ${contextLength}, the model's context`, window);
  const [texts, tokenizer] = await Promise.all([readTexts(data), loadTokenizer(source)]);
  const { bosTokenId } = tokenizer;
  const all = texts.flatMap(({ name, content }) => {
    const encoded = tokenizer.encode(content, { addSpecialTokens: false });
    return naming(name, () => cutWindows(encoded, { length: window, bosTokenId }));
  });
  const wanted = Math.max(1, Math.ceil(tokens / (all[0].length - 1)));
  return { windows: all.slice(0, wanted), texts: texts.map(({ name, sha256 }) => ({ name, sha256 })) };
}

/** What is wrong with a text, with its name: there may be several. */
function naming<T>(name: string, cut: () => T): T {
  try {
    return cut();
  } catch (error) {
    if (!(error instanceof LacunaError)) throw error;
    throw new LacunaError(error.code, `${name}: ${error.message}`, { hint: error.hint, cause: error });
  }
}
