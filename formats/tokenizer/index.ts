/** Tokenizers: text to token ids and back, and conversations to text. */
export type { ChatMessage, ChatOptions } from './chat-template.ts';
export { hasChatTemplate } from './chat-template.ts';
export { type DecodeOptions, type EncodeOptions, loadTokenizer, type Tokenizer } from './load.ts';
export type { StreamDecoder } from './stream-decode.ts';
