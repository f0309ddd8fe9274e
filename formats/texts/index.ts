/** Texts from disk: plain ones, and JSONL with a document a line. */
export type { TextDocument } from './documents.ts';
export { readTextFile, type TextFile } from './read.ts';
