/** The allowed results of an input: success, or an error that a user can read. */
import { ERROR_CODES, LacunaError } from '../../src/core/errors.ts';

/** The most characters of a message. Longer ones scroll the important part out of a terminal. */
const MAX_MESSAGE = 2048;

/**
 * What a terminal would obey: control characters except line breaks and tabs, and marks that turn the direction of
 * writing.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const OBEYED = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

/** Why a user should not see `error`; undefined for a proper error. */
export function faultOf(error: unknown): string | undefined {
  if (!(error instanceof LacunaError)) {
    const shown = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return `threw what is no LacunaError: ${shown.slice(0, MAX_MESSAGE)}`;
  }
  if (!ERROR_CODES.includes(error.code)) return `threw the code ${error.code}`;
  return faultOfText(error.message) ?? faultOfText(error.hint ?? '');
}

/** Why a user should not see `text`; undefined if it is fine. */
export function faultOfText(text: string, most = MAX_MESSAGE): string | undefined {
  if (text.length > most) return `a message of ${text.length} characters: ${text.slice(0, 300)}`;
  const found = OBEYED.exec(text);
  if (found === null) return undefined;
  const code = found[0].charCodeAt(0).toString(16).padStart(4, '0');
  return `a message with U+${code}: ${JSON.stringify(text.slice(Math.max(0, found.index - 100), found.index + 100))}`;
}
