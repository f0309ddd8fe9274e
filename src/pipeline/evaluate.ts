/** `lacuna eval`: what a model's perplexity is, and what rounding its weights and leaving something out cost. */
import * as z from 'zod';
import { type CacheUse, isNarrow, isOurs } from '../core/cache-format.ts';
import { LacunaError } from '../core/errors.ts';
import type { Graph } from '../core/graph.ts';
import { door, listOf, optionsOf, path } from '../core/options.ts';
import { leavesOut, type Plan } from '../core/plan.ts';
import { FLOATS } from '../core/precision.ts';
import type { Session } from '../core/session.ts';
import {
  COMPARE_MODES,
  type Comparison,
  compare,
  DEFINITIONS,
  measurePerplexity,
  type PerplexityResult,
  scoreWindows,
  type TextScores,
  type Windows,
} from '../eval/index.ts';
import { withNothingLeftOut } from '../rewrite/index.ts';
import { openNativeSession, openSession } from '../runtime/index.ts';
import { maxPplRatio } from './build/options.ts';
import { asDecoded } from './engine/decoding-session.ts';
import { chooseEngine, type Engine } from './engine/engine.ts';
import { type MeasuringJob, openMeasuredSession } from './engine/measured-session.ts';
import { checkOurCache, noSuchCache } from './engine/narrow-cache.ts';
import {
  baselineOf,
  type ChosenModel,
  calledOperators,
  type ModelFolder,
  openModelFolder,
} from './folder/model-folder.ts';
import { COMPARED, type ComparedOptions, count } from './options.ts';
import { noteFittedTexts, readWindows, type TextMeasured } from './texts/windows.ts';

export const evaluateOptions = optionsOf(
  { folder: path },
  {
    ...COMPARED,
    /** Tokens to score at least (in mode `all`; half as many in mode `decode`). */
    tokens: count,
    /** Tokens a window. */
    window: z.int().min(4),
    modes: listOf(z.enum(COMPARE_MODES)),
    /** The check fails when the ratio to the checkpoint's floats, with its error, is above this in any mode; at least 1. */
    maxPplRatio,
  },
);

export interface EvaluateOptions extends ComparedOptions, z.infer<typeof evaluateOptions> {}

/** What a quality budget means: the perplexity ratio to the checkpoint's floats, with its error, in every mode. */
export interface BudgetCheck {
  readonly maxPplRatio: number;
  /** The largest upper bound of all modes' ratios to the floats. */
  readonly upperBound: number;
  readonly passed: boolean;
}

export interface EvaluateResult {
  readonly folder: string;
  readonly against: string | undefined;
  readonly precision: string;
  readonly againstPrecision: string | undefined;
  /** What ran the model and its baseline. Each engine has its own rounding. */
  readonly engine: Engine;
  readonly againstEngine: Engine | undefined;
  readonly texts: readonly TextMeasured[];
  readonly perplexity: PerplexityResult | undefined;
  readonly modes: readonly Comparison[];
  readonly target: Plan['target'] | undefined;
  readonly check: BudgetCheck | undefined;
  /** What each figure means. */
  readonly definitions: Readonly<Record<string, string>>;
}

/**
 * Measures a folder's perplexity, and against its dense baseline what leaving something out cost. A failed check is a
 * result, not an error: `check.passed` is false.
 *
 * @example const { modes } = await evaluate({ folder: './sparse', against: './dense' });
 */
export const evaluate = door('evaluate', evaluateOptions, async (options: EvaluateOptions): Promise<EvaluateResult> => {
  const { maxPplRatio, againstEngine = options.engine } = options;
  const model = await openModelFolder(options.folder, options.dtype);
  const chosen = await chooseEngine({ ...options, operatorSet: calledOperators(model) });
  const againstChosen =
    againstEngine === options.engine ? chosen : await chooseEngine({ ...options, engine: againstEngine });
  // What attending to few tokens costs is measured while decoding, which takes a baseline: the same folder by default.
  const itself = options.attended === undefined ? undefined : { folder: options.folder, dtype: options.dtype };
  const against = baselineOf(options) ?? itself;
  const baseline = against && (await openModelFolder(against.folder, against.dtype));
  if (maxPplRatio !== undefined) checkIsFloats(baseline);
  const { contextLength } = model.manifest.spec;
  const { windows, texts } = await readWindows(options.folder, contextLength, options);
  noteFittedTexts(model, texts, options.progress);
  const result = {
    ...resultOf(model, texts),
    folder: options.folder,
    against: against?.folder,
    againstPrecision: baseline?.model.precision,
    engine: chosen.engine,
    againstEngine: baseline && againstChosen.engine,
  };
  const job = { ...options, native: chosen.native };
  const modes = modesOf(options);
  if (baseline === undefined) {
    const session = await openDecoding(model, job);
    const perplexity = await measurePerplexity(session, windows, options).finally(() => session.close());
    return { ...result, perplexity, modes: [] };
  }
  const againstUse = { cache: options.againstCache, attended: options.againstAttended };
  const compared = { ...baseline, native: againstChosen.native, ...againstUse };
  const measured = await compareFolders(model, compared, windows, { ...job, modes });
  return { ...result, modes: measured, check: judgeBudget(measured, maxPplRatio) };
});

/**
 * The modes to measure. A narrow cache is one session's own, so a model cannot go on from the baseline's. Where few tokens are
 * attended to, that is so while decoding only.
 */
function modesOf(options: EvaluateOptions): EvaluateOptions['modes'] {
  const { cache, againstCache, attended, againstAttended, modes } = options;
  if (attended !== undefined || againstAttended !== undefined) {
    if (modes?.includes('all') !== true) return ['decode'];
    throw new LacunaError('usage', 'Mode all feeds a text in one call, in which every token attends to all before it', {
      hint: 'Use mode decode: the first half of a window is read as a prompt, the other half is decoded.',
    });
  }
  if (!isNarrow(cache) && !isNarrow(againstCache)) return modes;
  if (modes?.includes('decode'))
    throw new LacunaError(
      'usage',
      'Mode decode goes on from the cache of the baseline, and a narrow cache cannot be handed over',
      {
        hint: 'Use mode all. It costs the same: every token reads the keys and values of those before it from the cache.',
      },
    );
  return ['all'];
}

/** Whether every mode's upper bound keeps to the budget; undefined without one. `modes` are against the floats. */
export function judgeBudget(modes: readonly Comparison[], maxPplRatio: number | undefined): BudgetCheck | undefined {
  if (maxPplRatio === undefined) return undefined;
  const bounds = modes.map(({ perplexityRatio: { value, upperBound } }) => upperBound ?? value);
  const upperBound = Math.max(...bounds);
  return { maxPplRatio, upperBound, passed: upperBound <= maxPplRatio };
}

/** What a result says besides its figures. */
export function resultOf({ model, manifest }: ModelFolder, texts: readonly TextMeasured[]) {
  return {
    precision: model.precision,
    texts,
    target: manifest.plan?.target ?? undefined,
    definitions: DEFINITIONS,
    perplexity: undefined,
    check: undefined,
  };
}

/** A budget limits the loss against the checkpoint, so its baseline must compute with the checkpoint's own weights. */
function checkIsFloats(baseline: ChosenModel | undefined): void {
  if (baseline === undefined)
    throw new LacunaError('usage', `A budget is against the checkpoint's floats, and no ${FLOATS} folder is named`, {
      hint: `Name it: --against DIR. lacuna convert CHECKPOINT -o DIR makes one.`,
    });
  const { manifest, model, modelPath } = baseline;
  const isSparse = leavesOut(manifest.plan);
  if (model.precision === FLOATS && !isSparse) return;
  const what = isSparse ? `sparse ${model.precision}` : model.precision;
  throw new LacunaError('usage', `A budget is against the checkpoint's floats, but ${modelPath} is ${what}`, {
    hint: `Give its dense ${FLOATS} folder: --against DIR. lacuna convert CHECKPOINT -o DIR makes one.`,
  });
}

async function compareFolders(
  model: ModelFolder,
  baseline: ModelFolder & Baseline,
  windows: Windows,
  options: CompareFolderOptions,
): Promise<Comparison[]> {
  if (baseline.manifest.fingerprint !== model.manifest.fingerprint)
    throw new LacunaError(
      'mismatch',
      `${baseline.modelPath} was made from another checkpoint than ${model.modelPath}`,
      { hint: 'Give a folder of the same checkpoint.' },
    );
  const isOtherwise = model.model.precision !== baseline.model.precision && !leavesOut(baseline.manifest.plan);
  const isApart = isOtherwise && wholeOf(model) !== undefined;
  const job = { ...options, ...useOf(baseline) };
  const floats = isApart ? await scoreModel(baseline, windows, job) : undefined;
  return compareWith(model, baseline, windows, { ...options, floats });
}

/** The scores that a model gives to every token of the windows. */
export async function scoreModel(model: ModelFolder, windows: Windows, options: MeasuringJob): Promise<TextScores> {
  const session = await openDecoding(model, options);
  return scoreWindows(session, windows, options).finally(() => session.close());
}

/** A job of measuring, and how the model's cache is kept and read. */
interface CachingJob extends MeasuringJob, CacheUse {}

/** Opens a model for texts that are fed in one call: a sparse one leaves out what it does where it decodes. */
async function openDecoding(model: ModelFolder, options: CachingJob): Promise<Session> {
  const { modelPath, graph, manifest } = model;
  if (isOurs(options)) return openWithOurCache(model, options);
  return leavesOut(manifest.plan) ? openMeasuredSession(modelPath, graph, options) : openSession(modelPath, options);
}

/** The session that decodes, which alone has such caches. It counts nothing, and a plan's prefill is as it is. */
async function openWithOurCache({ modelPath, graph, manifest }: ModelFolder, options: CachingJob): Promise<Session> {
  const { attended, native } = options;
  if (native === undefined) throw noSuchCache(options, 'stock ONNX Runtime runs the model');
  if (leavesOut(manifest.plan))
    throw new LacunaError(
      'unsupported',
      `${modelPath} leaves something out, and is measured with caches in fp32 only, and all tokens attended to`,
      {
        hint: 'Measure --cache and --attended on the dense folder of this precision, and the plan without them.',
      },
    );
  await checkOurCache(options, modelPath, graph);
  const session = await openNativeSession(modelPath, native, options);
  return attended === undefined ? session : asDecoded(session);
}

/** A sparse model with nothing left out; undefined for a dense one, and where its plan does not let that be told. */
function wholeOf({ graph, manifest: { plan } }: ModelFolder): Graph | undefined {
  return leavesOut(plan) ? withNothingLeftOut(graph, plan) : undefined;
}

/** The native core, if that runs the baseline, and how that keeps its cache. */
type Baseline = Pick<CachingJob, 'native' | 'cache' | 'attended'>;

function useOf({ native, cache, attended }: Baseline): Baseline {
  return { native, cache, attended };
}

interface CompareFolderOptions extends CachingJob, Pick<EvaluateOptions, 'modes'> {
  /**
   * The floats' scores. The model is then compared with them, and the losses by rounding and by leaving out are
   * separated: the same weights also run with nothing left out. Where that cannot be had, the dense model, in the same
   * precision, stands in for it.
   */
  readonly floats?: TextScores | undefined;
}

/** A model against its baseline, in all modes that were asked for. */
export async function compareWith(
  model: ModelFolder,
  baseline: ModelFolder & Baseline,
  windows: Windows,
  options: CompareFolderOptions,
): Promise<Comparison[]> {
  const { modes = COMPARE_MODES, progress, signal, floats } = options;
  const { spec } = model.manifest;
  const whole = floats && wholeOf(model);
  const dense =
    whole === undefined
      ? await openDecoding(baseline, { ...options, ...useOf(baseline) })
      : await openMeasuredSession(model.modelPath, whole, options);
  try {
    const session = isOurs(options)
      ? await openDecoding(model, options)
      : await openMeasuredSession(model.modelPath, model.graph, options);
    try {
      const ownCaches = isOurs(options) || isOurs(baseline);
      const job = { ffn: spec, floats, ownCaches, progress, signal };
      const results: Comparison[] = [];
      for (const mode of modes) results.push(await compare(dense, session, windows, { ...job, mode }));
      return results;
    } finally {
      await session.close();
    }
  } finally {
    await dense.close();
  }
}
