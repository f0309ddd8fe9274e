/** The storages of weights, in order: a new one is a file beside this and a name here. */
import { int4, int8 } from './block-storage.ts';
import { bf16, fp16, fp32 } from './float-storage.ts';
import type { StorageKind } from './storage.ts';

const KINDS = { fp32, fp16, bf16, int8, int4 };

export type Storage = keyof typeof KINDS;

export const STORAGES = Object.keys(KINDS) as readonly Storage[];

export function storageOf(name: Storage): StorageKind {
  return KINDS[name];
}
