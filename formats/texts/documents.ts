/** The documents of a text file: plain text is one document, JSONL has one on each line. */
import { LacunaError } from '../../src/core/errors.ts';
import { isJsonObject, type JsonObject } from '../../src/core/json.ts';
import { parseJsonObject } from '../json-file.ts';
import type { ChatMessage } from '../tokenizer/index.ts';

export interface TextDocument {
  /** Its place, as `chats.jsonl:3`; a plain file's path. */
  readonly at: string;
  /** Text as it is, or a conversation for the model's own chat template. */
  readonly content: string | readonly ChatMessage[];
}

const SHAPES = 'Wanted: "text", "messages", or "prompt" and "completion".';

/**
 * Plain text is one document. Line ends become
 * , as in other readers of text.
 */
export function plainDocument(text: string, path: string): TextDocument {
  return { at: path, content: text.replaceAll(/\r\n?/g, '\n') };
}

/**
 * One object on each line; blank lines are skipped. Throws `bad-file` and names a line that has none of the known
 * shapes.
 */
export function jsonLines(text: string, path: string): TextDocument[] {
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

function conversation(value: unknown, key: string, at: string): readonly ChatMessage[] {
  if (Array.isArray(value) && value.length > 0 && value.every(isMessage))
    return value.map(({ role, content }) => ({ role, content }));
  throw badLine(at, `has no messages in "${key}"`, 'Wanted: a list of {"role": "user", "content": "…"}, both strings.');
}

function isMessage(value: unknown): value is ChatMessage {
  return isJsonObject(value) && typeof value.role === 'string' && typeof value.content === 'string';
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
