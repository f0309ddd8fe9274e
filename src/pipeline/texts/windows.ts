/** Cuts texts into the windows that are scored. */
import type { TextFile } from '../../../formats/texts/index.ts';
import { loadTokenizer } from '../../../formats/tokenizer/index.ts';
import type { ModelFiles } from '../../core/checkpoint.ts';
import { invalidArgument, LacunaError } from '../../core/errors.ts';
import type { ManifestModel } from '../../core/manifest.ts';
import type { Plan } from '../../core/plan.ts';
import type { Progress } from '../../core/progress.ts';
import { spreadEvenly } from '../../core/spread-evenly.ts';
import { cutWindows, WINDOW_TOKENS } from '../../eval/index.ts';
import type { EvaluateOptions } from '../evaluate.ts';
import { encodeTexts, pinnedTexts } from './texts.ts';

/** A text that a model is measured on, by its name and the hash of its bytes. */
export type TextMeasured = Pick<TextFile, 'name' | 'sha256'>;

/** Scored tokens by default, for figures that are quoted: enough for the third digit of a ratio. */
export const DEFAULT_TOKENS = 20_000;

/** The minimum number of windows. One window does not show how far chance moves the figure. */
const LEAST_WINDOWS = 2;

/**
 * Windows with at least `tokens` scored tokens, spread evenly over all texts, by the folder's own tokenizer. Throws
 * `usage` for a window longer than the context or a text, and for texts that hold only one window.
 */
export async function readWindows(
  source: string | ModelFiles,
  contextLength: number,
  options: Pick<EvaluateOptions, 'data' | 'tokens' | 'window' | 'progress'>,
) {
  const { data = pinnedTexts('test'), tokens = DEFAULT_TOKENS, progress } = options;
  const { window = Math.min(WINDOW_TOKENS, contextLength) } = options;
  if (window > contextLength) throw invalidArgument('window', `at most ${contextLength}, the model's context`, window);
  const tokenizer = await loadTokenizer(source);
  const { bosTokenId } = tokenizer;
  const texts = await encodeTexts(data, tokenizer);
  const all = texts.flatMap((text) => naming(text.name, () => cutWindows(text.tokens, { length: window, bosTokenId })));
  if (all.length < LEAST_WINDOWS)
    throw new LacunaError(
      'usage',
      `The texts fill one window of ${window} tokens, at least ${LEAST_WINDOWS} are scored`,
      {
        hint: `Give more text, or shorter windows with --window; ${DEFAULT_TOKENS} tokens are enough for figures to quote.`,
      },
    );
  const windows = spreadEvenly(all, Math.max(LEAST_WINDOWS, Math.ceil(tokens / (window - 1))));
  noteFewTokens(windows.length * (window - 1), tokens, progress);
  return { windows, texts: texts.map(({ name, sha256 }) => ({ name, sha256 })) };
}

function noteFewTokens(scored: number, wanted: number, progress: Progress | undefined): void {
  if (scored < wanted)
    progress?.note(`The texts hold ${scored} tokens to score, ${wanted} were asked for: all are scored.`);
  else if (scored < DEFAULT_TOKENS)
    progress?.note(`${scored} tokens are scored; figures to quote want ${DEFAULT_TOKENS}.`);
}

export interface FittedModel {
  readonly model: Pick<ManifestModel, 'calibratedOn'>;
  readonly manifest: { readonly plan: Pick<Plan, 'texts'> | null };
}

/** Notes texts that the plan or the rounding was fitted to, by their bytes. */
export function noteFittedTexts(
  { model, manifest }: FittedModel,
  texts: readonly TextMeasured[],
  progress: Progress | undefined,
): void {
  const fitted = new Set([...(model.calibratedOn ?? []), ...(manifest.plan?.texts ?? [])].map(({ sha256 }) => sha256));
  for (const { name, sha256 } of texts)
    if (fitted.has(sha256))
      progress?.note(`The model was fitted to ${name}: its figures are better there than on any other text.`);
}

/** The faults of a text, each with its name. */
function naming<T>(name: string, cut: () => T): T {
  try {
    return cut();
  } catch (error) {
    if (!(error instanceof LacunaError)) throw error;
    throw new LacunaError(error.code, `${name}: ${error.message}`, { hint: error.hint, cause: error });
  }
}
