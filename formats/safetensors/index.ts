/** The safetensors format: open a file's header, write a file. */
export type { SafetensorsFile } from './header.ts';
export { readSafetensors } from './read.ts';
export { writeSafetensors } from './write.ts';
