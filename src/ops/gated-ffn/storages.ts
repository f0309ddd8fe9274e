/** The storages of weights, in order: a new one is a file beside this and a line here. */
import { int4, int8 } from './block-storage.ts';
import { bf16, fp16, fp32 } from './float-storage.ts';
import type { StorageKind } from './storage.ts';

const KINDS = [fp32, fp16, bf16, int8, int4] as const;

export type Storage = (typeof KINDS)[number]['name'];

export const STORAGES: readonly Storage[] = KINDS.map(({ name }) => name);

export function storageOf(name: Storage): StorageKind {
  const found = KINDS.find((kind) => kind.name === name);
  if (found === undefined) throw new RangeError(`No storage ${name}`);
  return found;
}
