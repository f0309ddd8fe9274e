/** Texts from disk, in UTF-8: a plain file is one document, JSONL has one on each line. */
import { basename, extname } from 'node:path';
import * as z from 'zod';
import { LacunaError } from '../../src/core/errors.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { decodeUtf8 } from '../../src/core/text.ts';
import { sha256Bytes } from '../files.ts';
import { parseJsonObject } from '../json-file.ts';
import { readBounded } from '../regular-file.ts';
import type { ChatMessage } from '../tokenizer/index.ts';

export interface TextDocument {
  /** Its place, as `chats.jsonl:3`; a plain file's path. */
  readonly at: string;
  /** Text as it is, or a conversation for the model's own chat template. */
  readonly content: string | readonly ChatMessage[];
}

export interface TextFile {
  readonly path: string;
  readonly name: string;
  readonly sha256: string;
  /** In their order. None is blank. */
  readonly documents: readonly TextDocument[];
}

/** A file's bytes and its text are in memory together. So large a file has a hundred times the tokens that are measured. */
const MAX_FILE_BYTES = 64 << 20;

/** A document is encoded at once, which takes 75 bytes of memory and two microseconds for each character. */
const MAX_DOCUMENT_LENGTH = 8 << 20;

const JSON_LINES: readonly string[] = ['.jsonl', '.ndjson'];

/** Files that contain texts but are not text, with a command that makes text of them. */
const OTHER_FORMATS: Readonly<Record<string, string>> = {
  '.json': "Write one object a line: jq -c '.[]' IN.json > OUT.jsonl",
  '.parquet': "Write one object a line, in Python: pandas.read_parquet(IN).to_json(OUT, orient='records', lines=True)",
  '.arrow': 'Write one object a line, in Python: datasets.Dataset.from_file(IN).to_json(OUT)',
  '.gz': 'Unpack it: gunzip -k FILE',
  '.zst': 'Unpack it: unzstd FILE',
  '.xz': 'Unpack it: unxz -k FILE',
  '.bz2': 'Unpack it: bunzip2 -k FILE',
  '.zip': 'Unpack it: unzip FILE',
};

/**
 * The documents of a text file: one for each line of .jsonl and .ndjson, and one for all of any other file.
 *
 * @throws LacunaError `not-found`, `io`, or `bad-file` for a file that is not text, too long, or empty.
 * @example const { documents } = await readTextFile('texts/fit.txt');
 */
export async function readTextFile(path: string): Promise<TextFile> {
  const extension = extname(path).toLowerCase();
  const unpack = OTHER_FORMATS[extension];
  if (unpack !== undefined)
    throw new LacunaError('bad-file', `${path} is no text: ${extension} files are not read`, { hint: unpack });
  const bytes = await readBounded(
    path,
    MAX_FILE_BYTES,
    'Give a part of it: some megabytes hold far more tokens than are measured.',
  );
  // Without a byte order mark, where there is one.
  const text = decodeUtf8(bytes, (cause) => notUtf8(path, cause));
  const all = JSON_LINES.includes(extension) ? jsonLines(text, path) : [plainDocument(text, path)];
  const documents = all.filter(({ content }) => typeof content !== 'string' || content.trim() !== '');
  if (documents.length === 0)
    throw new LacunaError('bad-file', `The text ${path} is empty`, { hint: 'Give a text of some thousand words.' });
  for (const document of documents) checkLength(document);
  return { path, name: basename(path), sha256: sha256Bytes(bytes), documents };
}

function notUtf8(path: string, cause: unknown): LacunaError {
  return new LacunaError('bad-file', `The text ${path} is not UTF-8`, {
    cause,
    hint: 'Convert it, as: iconv -f latin1 -t utf-8 IN > OUT',
  });
}

function checkLength({ at, content }: TextDocument): void {
  const parts = typeof content === 'string' ? [content] : content.map((message) => message.content);
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (length <= MAX_DOCUMENT_LENGTH) return;
  throw new LacunaError('bad-file', `The text ${at} has ${length} characters; the limit is ${MAX_DOCUMENT_LENGTH}`, {
    hint: 'Give a part of it, or several documents, one a line as {"text": "…"} in a .jsonl file.',
  });
}

const SHAPES = 'Wanted: "text", "messages", or "prompt" and "completion".';

/** Plain text is one document. Line ends become \n, as in other readers of text. */
function plainDocument(text: string, path: string): TextDocument {
  return { at: path, content: text.replaceAll(/\r\n?/g, '\n') };
}

/** One object on each line; blank lines are skipped. Throws `bad-file`, naming a line of no known shape. */
function jsonLines(text: string, path: string): TextDocument[] {
  return text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    const at = `${path}:${index + 1}`;
    return [{ at, content: contentOf(parseJsonObject(line, at), at) }];
  });
}

/** The first of the three shapes that the row has; other keys, as ids and sources, are not read. */
function contentOf(row: JsonObject, at: string): TextDocument['content'] {
  const { text, messages, prompt, completion } = row;
  if (text !== undefined) return wanted(text, 'text', at);
  if (messages !== undefined) return conversation(messages, 'messages', at);
  if (prompt !== undefined && completion !== undefined) {
    if (!Array.isArray(prompt)) return wanted(prompt, 'prompt', at) + wanted(completion, 'completion', at);
    return [...conversation(prompt, 'prompt', at), ...conversation(completion, 'completion', at)];
  }
  const keys = Object.keys(row).slice(0, 10);
  throw badLine(at, `has ${keys.length === 0 ? 'no keys' : `the keys ${quoted(keys)}`}, none of which is text`, SHAPES);
}

function wanted(value: unknown, key: string, at: string): string {
  if (typeof value === 'string') return value;
  throw badLine(at, `has ${kindOf(value)} for "${key}", a string is wanted`, SHAPES);
}

const conversationSchema = z.array(z.object({ role: z.string(), content: z.string() })).min(1);

function conversation(value: unknown, key: string, at: string): readonly ChatMessage[] {
  const parsed = conversationSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw badLine(at, `has no messages in "${key}"`, 'Wanted: a list of {"role": "user", "content": "…"}, both strings.');
}

function kindOf(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'a list' : `a value of type ${typeof value}`;
}

function quoted(keys: readonly string[]): string {
  return keys.map((key) => `"${key.slice(0, 40)}"`).join(', ');
}

function badLine(at: string, problem: string, hint: string): LacunaError {
  return new LacunaError('bad-file', `${at} ${problem}`, { hint });
}
