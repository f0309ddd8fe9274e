/** Tokenizers: text to token ids and back, and conversations to text. */
export type { ChatMessage } from './chat-template.ts';
export { hasChatTemplate } from './chat-template.ts';
export { loadTokenizer, type Tokenizer } from './load.ts';
