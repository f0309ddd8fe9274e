/** Reads a JSON file that must hold an object. */
import { open } from 'node:fs/promises';
import { LacunaError } from '../src/core/errors.ts';
import { asIoError } from './io-error.ts';

export interface JsonFile {
  readonly value: Readonly<Record<string, unknown>>;
  /** The file as it is, for hashing. */
  readonly text: string;
}

/**
 * The object in the JSON file at `path`, of at most `maxBytes` bytes. Throws 'bad-file' when it is larger, no JSON or
 * no object, 'not-found' or 'io' when it cannot be read.
 *
 * @example const { value } = await readJsonObject('model/config.json', 1 << 20);
 */
export async function readJsonObject(path: string, maxBytes: number): Promise<JsonFile> {
  const text = await readText(path, maxBytes);
  return { value: parseJsonObject(text, path), text };
}

/** The object that `text` is as JSON; 'bad-file' otherwise, calling it `path`. */
export function parseJsonObject(text: string, path: string): Readonly<Record<string, unknown>> {
  const value = parse(text, path);
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Readonly<Record<string, unknown>>;
  throw new LacunaError(
    'bad-file',
    `${path} must hold a JSON object but holds ${text.trim().slice(0, 40) || 'nothing'}`,
    { hint: 'Mend it or download it again.' },
  );
}

async function readText(path: string, maxBytes: number): Promise<string> {
  const handle = await open(path, 'r').catch((error) => {
    throw asIoError(error, 'read', path);
  });
  try {
    const { size } = await handle.stat();
    if (size > maxBytes)
      throw new LacunaError('bad-file', `${path} has ${size} bytes; the limit is ${maxBytes}, far above any real one`, {
        hint: 'Check that the path is right.',
      });
    return new TextDecoder('utf-8', { fatal: true }).decode(await handle.readFile());
  } catch (error) {
    if (error instanceof TypeError)
      throw new LacunaError('bad-file', `${path} is no UTF-8 text`, { hint: 'Download the file again.', cause: error });
    throw asIoError(error, 'read', path);
  } finally {
    await handle.close();
  }
}

function parse(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new LacunaError('bad-file', `${path} is no JSON: ${(error as Error).message}`, {
      hint: 'Mend it or download it again.',
      cause: error,
    });
  }
}
