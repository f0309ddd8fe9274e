/** tokenizer_config.json as all hosts read it: transformers.js, onnxruntime-genai, Transformers 4 and 5. */
import type { JsonObject } from '../../core/json.ts';

/** Transformers 5's name for a tokenizer without a class; Transformers 4, which optimum needs, knows only the other. */
const RENAMED: Readonly<Record<string, string>> = { TokenizersBackend: 'PreTrainedTokenizerFast' };

/**
 * - The chat template is inside: transformers.js reads no chat_template.jinja.
 * - `model_input_names` is present. Without it, a tokenizer of no special class also gives token types, which a decoder
 *   refuses.
 * - Where Transformers 5 differs, the file is as Transformers 4 writes it, which both read: the name of the class, and
 *   the list of further special tokens.
 */
export function portableTokenizerConfig(config: JsonObject, chatTemplate: string | undefined): JsonObject {
  const { tokenizer_class: name, extra_special_tokens: extra, ...rest } = config;
  return {
    model_input_names: ['input_ids', 'attention_mask'],
    ...rest,
    ...(name !== undefined && { tokenizer_class: typeof name === 'string' ? (RENAMED[name] ?? name) : name }),
    ...(extra !== undefined && {
      [Array.isArray(extra) ? 'additional_special_tokens' : 'extra_special_tokens']: extra,
    }),
    ...(config.chat_template === undefined && chatTemplate !== undefined && { chat_template: chatTemplate }),
  };
}
