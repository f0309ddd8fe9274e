/** The one way from the files of `--data` to tokens, for everything that measures a model on texts, and how many it needs. */
import { sha256Bytes } from '../../../formats/files.ts';
import { readTextFile, type TextDocument, type TextFile } from '../../../formats/texts/index.ts';
import type { Tokenizer } from '../../../formats/tokenizer/index.ts';
import { LacunaError } from '../../core/errors.ts';
import type { ModelSpec } from '../../core/model.ts';
import type { Progress } from '../../core/progress.ts';
import { packageFile } from '../engine/package-files.ts';

/** The package's texts: `fit` for statistics, `choose` for thresholds, `test` for figures. They share no document. */
export function pinnedTexts(role: 'fit' | 'choose' | 'test'): readonly string[] {
  return [packageFile(`texts/${role}.txt`)];
}

/** The files, checked and not yet encoded. @throws LacunaError when one of them is missing, empty or no text. */
export function readTexts(paths: readonly string[]): Promise<TextFile[]> {
  return Promise.all(paths.map(readTextFile));
}

/** What tells texts apart: names, which decide how files are read, and hashes. */
export async function identifyTexts(paths: readonly string[]): Promise<readonly (readonly string[])[]> {
  return (await readTexts(paths)).map(({ name, sha256 }) => [name, sha256]);
}

/** The files as tokens: all documents of each, one after the other. Throws as `readTexts`, naming the place of text that cannot be encoded. */
export async function encodeTexts(paths: readonly string[], tokenizer: Tokenizer) {
  const files = await readTexts(paths);
  return files.map(({ name, sha256, documents }) => ({ name, sha256, tokens: joinDocuments(documents, tokenizer) }));
}

/**
 * Joins documents, as in training. After a text comes the token that ends one, if the tokenizer names it. A
 * conversation has its template's own marks. The token that begins a text is added later, only at the start of each
 * window: few models have learnt to expect it inside a text.
 */
function joinDocuments(documents: readonly TextDocument[], tokenizer: Tokenizer): number[] {
  const { bosTokenId, eosTokenId } = tokenizer;
  const tokens: number[] = [];
  for (const [index, document] of documents.entries()) {
    const encoded = encode(document, tokenizer);
    const start = encoded[0] === bosTokenId ? 1 : 0;
    for (let i = start; i < encoded.length; i++) tokens.push(encoded[i]);
    const isLast = index === documents.length - 1;
    if (typeof document.content === 'string' && !isLast && eosTokenId !== undefined) tokens.push(eosTokenId);
  }
  return tokens;
}

function encode({ at, content }: TextDocument, tokenizer: Tokenizer): number[] {
  try {
    const text = typeof content === 'string' ? content : tokenizer.chat(content, { addGenerationPrompt: false });
    return tokenizer.encode(text, { addSpecialTokens: false });
  } catch (error) {
    if (!(error instanceof LacunaError)) throw error;
    const hint =
      typeof content === 'string' ? error.hint : 'Give what the model is to read: {"text": "…"} in place of messages.';
    throw new LacunaError(error.code, `${at}: ${error.message}`, { hint, cause: error });
  }
}

/**
 * Throws `usage` if two roles share a file or a document, because a figure on a text that was used for fitting is too
 * good.
 *
 * @example await checkDisjoint({ fit: ['fit.txt'], choose: ['choose.txt'], test: ['chats.jsonl'] });
 */
export async function checkDisjoint(roles: Readonly<Record<string, readonly string[]>>): Promise<void> {
  const texts = await Promise.all(
    Object.entries(roles).map(async ([role, paths]) => ({ role, files: await readTexts(paths) })),
  );
  for (const [index, one] of texts.entries())
    for (const other of texts.slice(index + 1)) {
      const [first, ...rest] = sharedBy(one.files, other.files);
      if (first === undefined) continue;
      const more = rest.length === 0 ? '' : `, and ${rest.length} more`;
      throw new LacunaError('usage', `${one.role} and ${other.role} share a text: ${first}${more}`, {
        hint: 'Give each a text of its own: what is fitted to a text is better on it than on any other.',
      });
    }
}

/** Places of what both have, for example "fit.jsonl:3 is test.jsonl:7". */
function sharedBy(ones: readonly TextFile[], others: readonly TextFile[]): string[] {
  const documents = (files: readonly TextFile[]) => files.flatMap((file) => file.documents);
  const places = new Map(documents(ones).map((document) => [keyOfDocument(document), document.at]));
  return documents(others).flatMap((document) => {
    const place = places.get(keyOfDocument(document));
    return place === undefined ? [] : [place === document.at ? place : `${place} is ${document.at}`];
  });
}

function keyOfDocument({ content }: TextDocument): string {
  return sha256Bytes(typeof content === 'string' ? content.trim() : JSON.stringify(content));
}

/** How many tokens a measurement on texts needs. */
export interface Wanted {
  /** The purpose of the tokens, as messages call it. */
  readonly purpose: string;
  /** With fewer, a note recommends more. */
  readonly enough: number;
}

/** Two sequences: what is fitted to less holds only for the subject of one passage (docs/calibration.md). */
const LEAST_TOKENS = 1000;

/** From here on, another text moves the share of neurons or blocks by less than half a point. */
const ENOUGH_TOKENS = 4096;

/** Statistics, for plans and for weighing errors. */
export const STATISTICS: Wanted = { purpose: 'Statistics', enough: ENOUGH_TOKENS };

/** Rounding by texts. */
export const ROUNDING: Wanted = { purpose: 'Rounding by texts', enough: ENOUGH_TOKENS };

/** The same for a model: a Gram matrix of n tokens says nothing beyond n directions, so the widest input counts. */
export function wantedForRounding({ hiddenSize, intermediateSize }: ModelSpec): Wanted {
  return { ...ROUNDING, enough: Math.max(ROUNDING.enough, hiddenSize, intermediateSize) };
}

/** Throws `usage` for too few tokens, and recommends more in a note. */
export function checkTokens(wanted: Wanted, tokens: number, progress?: Progress): void {
  const { purpose, enough } = wanted;
  if (tokens < LEAST_TOKENS)
    throw new LacunaError('usage', `${purpose}: at least ${LEAST_TOKENS} tokens are wanted, there are ${tokens}`, {
      hint: `Give more text, or more of it with --tokens; ${enough} tokens or more are better.`,
    });
  for (const note of fewTokens(wanted, tokens)) progress?.note(note);
}

/** What is said of fewer tokens than enough; nothing of others. */
export function fewTokens({ purpose, enough }: Wanted, tokens: number): string[] {
  return tokens < enough ? [`${purpose}: ${tokens} tokens are few, ${enough} or more are better.`] : [];
}
