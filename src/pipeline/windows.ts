/** Cuts texts into the windows that are scored. */
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import type { ModelFiles } from '../core/checkpoint.ts';
import { invalidArgument, LacunaError } from '../core/errors.ts';
import { spreadEvenly } from '../core/spread-evenly.ts';
import { cutWindows, WINDOW_TOKENS } from '../eval/index.ts';
import { encodeTexts } from './texts.ts';

/** Scored tokens by default: enough for the third digit of a ratio. */
export const DEFAULT_TOKENS = 20_000;

export interface WindowsOptions {
  readonly data: readonly string[];
  readonly tokens?: number;
  readonly window?: number;
}

/**
 * Windows that hold at least `tokens` scored tokens, spread evenly over all that the texts hold, by the folder's own
 * tokenizer.
 *
 * @throws LacunaError `usage` when a window is longer than the context, or a text shorter than a window.
 */
export async function readWindows(
  source: string | ModelFiles,
  contextLength: number,
  { data, tokens = DEFAULT_TOKENS, window = Math.min(WINDOW_TOKENS, contextLength) }: WindowsOptions,
) {
  if (window > contextLength) throw invalidArgument('window', `at most ${contextLength}, the model's context`, window);
  const tokenizer = await loadTokenizer(source);
  const { bosTokenId } = tokenizer;
  const texts = await encodeTexts(data, tokenizer);
  const all = texts.flatMap((text) => naming(text.name, () => cutWindows(text.tokens, { length: window, bosTokenId })));
  const wanted = Math.max(1, Math.ceil(tokens / (window - 1)));
  return { windows: spreadEvenly(all, wanted), texts: texts.map(({ name, sha256 }) => ({ name, sha256 })) };
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
