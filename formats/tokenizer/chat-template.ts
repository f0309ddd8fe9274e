/** Messages -> the text a chat model expects, through the Jinja template that comes with its tokenizer. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Template } from '@huggingface/jinja';
import { type ErrorCode, LacunaError } from '../../src/core/errors.ts';
import { asIoError, systemCode } from '../io-error.ts';
import { readJsonObject } from '../json-file.ts';

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

export interface ChatOptions {
  /** End with the beginning of the assistant's answer, for the model to go on from. */
  readonly addGenerationPrompt: boolean;
}

/** The longest templates, with tools, have some 20 KB. */
const MAX_TEMPLATE_BYTES = 1 << 20;

type Json = Readonly<Record<string, unknown>>;

/** The template of a tokenizer's folder: from tokenizer_config.json, else chat_template.jinja, else chat_template.json. */
export async function findChatTemplate(folder: string, tokenizerConfig: Json): Promise<string | undefined> {
  return (
    templateIn(tokenizerConfig) ??
    (await readOptional(join(folder, 'chat_template.jinja'), readTemplate)) ??
    (await readOptional(join(folder, 'chat_template.json'), async (path) =>
      templateIn((await readJsonObject(path, MAX_TEMPLATE_BYTES)).value),
    ))
  );
}

/** `chat_template` is one template, or a list of named ones, of which `default` is meant for plain conversation. */
function templateIn({ chat_template: found }: Json): string | undefined {
  if (typeof found === 'string') return found;
  if (!Array.isArray(found)) return undefined;
  const named = found.filter(isNamedTemplate);
  return (named.find(({ name }) => name === 'default') ?? named[0])?.template;
}

function isNamedTemplate(entry: unknown): entry is { name: string; template: string } {
  return (
    typeof entry === 'object' &&
    entry !== null &&
    'name' in entry &&
    'template' in entry &&
    typeof entry.template === 'string'
  );
}

async function readTemplate(path: string): Promise<string> {
  const text = await readFile(path, 'utf8');
  if (text.length > MAX_TEMPLATE_BYTES)
    throw new LacunaError('bad-file', `${path} is longer than ${MAX_TEMPLATE_BYTES} characters`);
  return text;
}

/** What `read` makes of a file, or undefined when there is none. */
export async function readOptional<T>(path: string, read: (path: string) => Promise<T>): Promise<T | undefined> {
  try {
    return await read(path);
  } catch (error) {
    const cause = error instanceof LacunaError ? error.cause : error;
    if (systemCode(cause) === 'ENOENT') return undefined;
    throw asIoError(error, 'read', path);
  }
}

/**
 * The template filled in. `specialTokens` (`bos_token`, `eos_token`, …) are its variables. Throws 'unsupported' when it
 * cannot be read, 'usage' when it fails, which is also how a template refuses messages (in the wrong order, say).
 */
export function renderChat(
  template: string,
  messages: readonly ChatMessage[],
  { addGenerationPrompt }: ChatOptions,
  specialTokens: Readonly<Record<string, string>>,
): string {
  const variables = {
    ...specialTokens,
    messages: messages.map(({ role, content }) => ({ role, content })),
    add_generation_prompt: addGenerationPrompt,
  };
  const parsed = attempt(() => new Template(template), 'unsupported', 'The chat template cannot be read');
  return attempt(() => parsed.render(variables), 'usage', 'The chat template refuses these messages');
}

function attempt<T>(action: () => T, code: ErrorCode, problem: string): T {
  try {
    return action();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LacunaError(code, `${problem}: ${reason}`, { hint: 'Give the prompt as plain text instead.', cause });
  }
}
