/** The safetensors format: open a file's header, write a file. */
export type { SafetensorsFile } from './header.ts';
export { type ReadOptions, readSafetensors } from './read.ts';
export { type Entry, writeSafetensors } from './write.ts';
