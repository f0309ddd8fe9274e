/** The storages of weights, in order: a new one is a file beside this and a name here. */
import { int4, int5, int6, int8 } from './block-storage.ts';
import { bf16, fp16, fp32 } from './float-storage.ts';
import type { StorageKind } from './storage.ts';

const BLOCKS = { int8, int6, int5, int4 };
const KINDS = { fp32, fp16, bf16, ...BLOCKS };

export type Storage = keyof typeof KINDS;
export type BlockStorage = keyof typeof BLOCKS;

export const STORAGES = Object.keys(KINDS) as readonly Storage[];

export const BLOCK_STORAGES = Object.keys(BLOCKS) as readonly BlockStorage[];

export function storageOf(name: Storage): StorageKind {
  return KINDS[name];
}
