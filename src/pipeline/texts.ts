/** Texts from disk: UTF-8 or refused, named by their hash. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { sha256Bytes } from '../../formats/files.ts';
import { LacunaError } from '../core/errors.ts';
import { packageFile } from './package-files.ts';

export interface Text {
  readonly name: string;
  readonly sha256: string;
  readonly content: string;
}

/** `fit` for statistics, `choose` for thresholds, `test` for the figures: they share no document. */
export type TextRole = 'fit' | 'choose' | 'test';

/** The texts that are taken where none are given: one that comes with the package. */
export function pinnedTexts(role: TextRole): readonly string[] {
  return [packageFile(`fixtures/texts/${role}.txt`)];
}

/** @throws LacunaError when a file is missing, empty or not UTF-8. */
export async function readTexts(paths: readonly string[]): Promise<Text[]> {
  if (paths.length === 0)
    throw new LacunaError('usage', 'No text given', { hint: 'Name at least one UTF-8 file: --data FILE' });
  return Promise.all(paths.map(readText));
}

export async function readText(path: string): Promise<Text> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new LacunaError('not-found', `Cannot read the text ${path}`, {
      cause,
      hint: 'Give the path of a UTF-8 file.',
    });
  });
  const content = decodeUtf8(path, bytes);
  if (content.trim() === '')
    throw new LacunaError('bad-file', `The text ${path} is empty`, { hint: 'Give a text of some thousand words.' });
  return { name: basename(path), sha256: sha256Bytes(bytes), content };
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
