/** Reads a JSON file that must hold an object. */
import { LacunaError } from '../src/core/errors.ts';
import { isJsonObject, type JsonObject } from '../src/core/json.ts';
import { decodeUtf8 } from '../src/core/text.ts';
import { readBounded } from './regular-file.ts';

/** Levels of objects and arrays. Real files have ten. Code that walks or prints a value ends its stack at thousands. */
export const MAX_JSON_LEVELS = 100;

export interface JsonFile {
  readonly value: JsonObject;
  /** The file as it is, for hashing. */
  readonly text: string;
}

/**
 * The object in the JSON file at `path`, of at most `maxBytes` bytes. Throws 'bad-file' when it is larger, not JSON or
 * not an object, 'not-found' or 'io' when it cannot be read.
 *
 * @example const { value } = await readJsonObject('model/config.json', 1 << 20);
 */
export async function readJsonObject(path: string, maxBytes: number): Promise<JsonFile> {
  const refuse = (cause: unknown) =>
    new LacunaError('bad-file', `${path} is no UTF-8 text`, { hint: 'Download the file again.', cause });
  const text = decodeUtf8(await readBounded(path, maxBytes), refuse);
  return { value: parseJsonObject(text, path), text };
}

/** The object that `text` is as JSON; 'bad-file' otherwise, calling it `path`. */
export function parseJsonObject(text: string, path: string): JsonObject {
  const value = parse(text, path);
  if (isJsonObject(value)) return value;
  throw badJson(`${path} must hold a JSON object but holds ${text.trim().slice(0, 40) || 'nothing'}`);
}

function parse(text: string, path: string): unknown {
  if (isTooDeep(text))
    throw new LacunaError('bad-file', `${path} nests objects and arrays deeper than ${MAX_JSON_LEVELS} levels`, {
      hint: 'Correct it or download it again: real files have ten levels at most.',
    });
  try {
    return JSON.parse(text);
  } catch (error) {
    throw badJson(`${path} is no JSON: ${(error as Error).message}`, error);
  }
}

function badJson(message: string, cause?: unknown): LacunaError {
  return new LacunaError('bad-file', message, { hint: 'Correct it or download it again.', cause });
}

const [QUOTE, BACKSLASH] = [0x22, 0x5c];
const [OPENING_BRACE, CLOSING_BRACE] = [0x7b, 0x7d];
const [OPENING_BRACKET, CLOSING_BRACKET] = [0x5b, 0x5d];

/** Whether `text`, if it is JSON, has more than `MAX_JSON_LEVELS` levels. */
export function isTooDeep(text: string): boolean {
  let level = 0;
  let isInString = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (isInString) {
      if (code === QUOTE) isInString = false;
      else if (code === BACKSLASH) at += 1;
    } else if (code === QUOTE) isInString = true;
    else if (code === OPENING_BRACE || code === OPENING_BRACKET) {
      level += 1;
      if (level > MAX_JSON_LEVELS) return true;
    } else if (code === CLOSING_BRACE || code === CLOSING_BRACKET) level -= 1;
  }
  return false;
}
