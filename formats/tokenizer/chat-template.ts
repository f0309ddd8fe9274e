/** Messages -> the text a chat model expects, through the Jinja template that comes with its tokenizer. */
import { Template } from '@huggingface/jinja';
import type { ModelFiles } from '../../src/core/checkpoint.ts';
import { type ErrorCode, LacunaError } from '../../src/core/errors.ts';
import { readSmallJson, readSmallText } from '../small-files.ts';

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

export interface ChatOptions {
  /** End with the beginning of the assistant's answer, for the model to go on from. */
  readonly addGenerationPrompt: boolean;
}

/** Up to 1.2 MB in Gemma, which lists its 6400 added tokens. */
export const MAX_CONFIG_BYTES = 32 << 20;
/** The longest templates, with tools, have some 20 KB. */
const MAX_TEMPLATE_BYTES = 1 << 20;

type Json = Readonly<Record<string, unknown>>;

/** The template of a tokenizer: from tokenizer_config.json, else chat_template.jinja, else chat_template.json. */
export async function findChatTemplate(model: ModelFiles, tokenizerConfig: Json): Promise<string | undefined> {
  return (
    templateIn(tokenizerConfig) ??
    (await readSmallText(model, 'chat_template.jinja', MAX_TEMPLATE_BYTES)) ??
    templateIn((await readSmallJson(model, 'chat_template.json', MAX_TEMPLATE_BYTES))?.value ?? {})
  );
}

/** Whether a model has a template, which may be one that cannot be read. */
export async function hasChatTemplate(model: ModelFiles): Promise<boolean> {
  const config = (await readSmallJson(model, 'tokenizer_config.json', MAX_CONFIG_BYTES))?.value ?? {};
  return (await findChatTemplate(model, config)) !== undefined;
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

export type RenderChat = (messages: readonly ChatMessage[], options: ChatOptions) => string;

/**
 * Fills the template in, which is parsed once, when it is first wanted. `specialTokens` (`bos_token`, `eos_token`, …) are its
 * variables. Throws 'unsupported' when it cannot be read, 'usage' when it fails, which is also how a template refuses messages
 * (in the wrong order, say).
 */
export function chatRenderer(template: string, specialTokens: Readonly<Record<string, string>>): RenderChat {
  let parsed: Template | undefined;
  return (messages, { addGenerationPrompt }) => {
    const variables = {
      ...specialTokens,
      messages: messages.map(({ role, content }) => ({ role, content })),
      add_generation_prompt: addGenerationPrompt,
    };
    const known = attempt(() => (parsed ??= new Template(template)), 'unsupported', 'The chat template cannot be read');
    return attempt(() => known.render(variables), 'usage', 'The chat template refuses these messages');
  };
}

function attempt<T>(action: () => T, code: ErrorCode, problem: string): T {
  try {
    return action();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LacunaError(code, `${problem}: ${reason}`, { hint: 'Give the prompt as plain text instead.', cause });
  }
}
