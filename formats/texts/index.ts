/** Texts from disk: plain ones, and JSONL with one document on each line. */
export type { TextDocument } from './documents.ts';
export { readTextFile, type TextFile } from './read.ts';
