/** Texts from disk: UTF-8 or refused, named by their hash. */
import { basename } from 'node:path';
import { sha256Bytes } from '../../formats/files.ts';
import { readBounded } from '../../formats/regular-file.ts';
import { LacunaError } from '../core/errors.ts';

/** Some fifty million tokens, a thousand times what is measured; a text is held in memory whole. */
const MAX_TEXT_BYTES = 256 << 20;

export interface Text {
  readonly name: string;
  readonly sha256: string;
  readonly content: string;
}

/** @throws LacunaError when a file is missing, empty or not UTF-8. */
export async function readTexts(paths: readonly string[]): Promise<Text[]> {
  if (paths.length === 0)
    throw new LacunaError('usage', 'No text given', { hint: 'Name at least one UTF-8 file: --data FILE' });
  return Promise.all(paths.map(readText));
}

export async function readText(path: string): Promise<Text> {
  const bytes = await readBounded(path, MAX_TEXT_BYTES).catch((error: unknown) => {
    throw error instanceof LacunaError && error.code === 'not-found' ? missing(path, error) : error;
  });
  const content = decodeUtf8(path, bytes);
  if (content.trim() === '')
    throw new LacunaError('bad-file', `The text ${path} is empty`, { hint: 'Give a text of some thousand words.' });
  return { name: basename(path), sha256: sha256Bytes(bytes), content };
}

function missing(path: string, cause: unknown): LacunaError {
  return new LacunaError('not-found', `Cannot read the text ${path}`, {
    cause,
    hint: 'Give the path of a UTF-8 file.',
  });
}

function decodeUtf8(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new LacunaError('bad-file', `The text ${path} is not UTF-8`, {
      cause,
      hint: 'Convert it, as: iconv -f latin1 -t utf-8 IN > OUT',
    });
  }
}
