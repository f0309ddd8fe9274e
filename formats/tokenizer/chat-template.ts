/** Messages -> the text that a chat model expects, through the Jinja template of its tokenizer. */
import { Environment, Interpreter, Template } from '@huggingface/jinja';
import type { ModelFiles } from '../../src/core/checkpoint.ts';
import { isJsonObject, type JsonObject } from '../../src/core/json.ts';
import { readSmallJson, readSmallText } from '../small-files.ts';
import { blaming, withinTime } from './within-time.ts';

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

export interface ChatOptions {
  /** Ends with the start of the assistant's answer, for the model to continue. */
  readonly addGenerationPrompt: boolean;
}

/** Up to 1.2 MB in Gemma, which lists its 6400 added tokens. */
export const MAX_CONFIG_BYTES = 32 << 20;
/** The longest templates, with tools, have some 20 KB. */
const MAX_TEMPLATE_BYTES = 1 << 20;

/** A template renders within a millisecond. It is a program, so it may be written never to end. */
const RENDER_MS = 5000;

/** The most characters, or entries of a list, in a template's value: far above any conversation. */
const MAX_LENGTH = 1 << 22;

/** The template of a tokenizer: from tokenizer_config.json, else chat_template.jinja, else chat_template.json. */
export async function findChatTemplate(model: ModelFiles, tokenizerConfig: JsonObject): Promise<string | undefined> {
  return (
    templateIn(tokenizerConfig) ??
    (await readSmallText(model, 'chat_template.jinja', MAX_TEMPLATE_BYTES)) ??
    templateIn((await readSmallJson(model, 'chat_template.json', MAX_TEMPLATE_BYTES)) ?? {})
  );
}

/** Whether a model has a template, even one that cannot be read. */
export async function hasChatTemplate(model: ModelFiles): Promise<boolean> {
  const config = (await readSmallJson(model, 'tokenizer_config.json', MAX_CONFIG_BYTES)) ?? {};
  return (await findChatTemplate(model, config)) !== undefined;
}

/** `chat_template` is one template, or a list of named ones, of which `default` is meant for plain conversation. */
function templateIn({ chat_template: found }: JsonObject): string | undefined {
  if (typeof found === 'string') return found;
  if (!Array.isArray(found)) return undefined;
  const named = found.filter(isNamedTemplate);
  return (named.find(({ name }) => name === 'default') ?? named[0])?.template;
}

function isNamedTemplate(entry: unknown): entry is { name: string; template: string } {
  return isJsonObject(entry) && 'name' in entry && typeof entry.template === 'string';
}

type RenderChat = (messages: readonly ChatMessage[], options: ChatOptions) => string;

/**
 * Fills in the template, which is parsed once, on first use. `specialTokens` (`bos_token`, …) are its variables.
 * Throws 'unsupported' when it cannot be read, 'usage' when it fails, which is also how templates refuse messages.
 */
export function chatRenderer(template: string, specialTokens: Readonly<Record<string, string>>): RenderChat {
  let parsed: Template | undefined;
  return (messages, { addGenerationPrompt }) => {
    const variables = {
      ...specialTokens,
      messages: messages.map(({ role, content }) => ({ role, content })),
      add_generation_prompt: addGenerationPrompt,
    };
    const hint = 'Give the prompt as plain text instead.';
    const known = blaming(
      () => (parsed ??= new Template(template)),
      'unsupported',
      'The chat template cannot be read',
      hint,
    );
    const rendering = () => withinTime(RENDER_MS, 'The chat template', () => render(known.parsed, variables));
    return blaming(rendering, 'usage', 'The chat template refuses these messages', hint);
  };
}

/** As `Template.render`, but no value grows beyond `MAX_LENGTH`: a few doublings could fill all memory. */
function render(program: Template['parsed'], variables: JsonObject): string {
  const environment = new Environment();
  for (const [name, value] of Object.entries({ ...GLOBALS, ...variables })) environment.set(name, value);
  const interpreter: Evaluator = new Interpreter(environment);
  const evaluate = interpreter.evaluate.bind(interpreter);
  interpreter.evaluate = (...args) => {
    const result = evaluate(...args);
    checkLength(result.value);
    return result;
  };
  return String(interpreter.run(program).value);
}

/** The used part of an interpreter. Its declarations do not resolve under Node's rules. */
interface Evaluator {
  run(program: unknown): { readonly value: unknown };
  /** Evaluates one expression or statement, and those inside it by the same method. */
  evaluate(...args: readonly unknown[]): { readonly value: unknown };
}

function checkLength(value: unknown): void {
  const { length } = typeof value === 'string' || Array.isArray(value) ? value : [];
  if (length > MAX_LENGTH) throw new RangeError(`it makes a value of ${length} characters or entries`);
}

/** What Jinja, and Transformers on top of it, give to every template. */
const GLOBALS: JsonObject = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  range: boundedRange,
  raise_exception: (message: string) => {
    throw new Error(message);
  },
  // The package's own, which it does not export.
  strftime_now: (format: string) => new Template('{{ strftime_now(format) }}').render({ format }),
};

function boundedRange(...bounds: number[]): number[] {
  const [start, stop, step = 1] = bounds.length > 1 ? bounds : [0, ...bounds];
  if (step === 0) throw new RangeError('range() takes steps other than 0');
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= MAX_LENGTH)) throw new RangeError(`range() of ${length} numbers`);
  return Array.from({ length }, (_, i) => start + i * step);
}
